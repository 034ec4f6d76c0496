//! Runs that could not be published of late: each is left out for a while, so that it keeps no other from its turn.

use runmesh_domain::id::RunId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a run is left out after its first failure; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Runs that are remembered; what is beyond is tried in every round.
const REMEMBERED_MAX: usize = 1_000;

/// What failed, and until when it is left alone. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Failing {
    runs: Arc<Mutex<HashMap<RunId, Failed>>>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    until: Instant,
}

impl Failing {
    /// The runs to leave out at this moment.
    pub(super) fn at(&self, now: Instant) -> Vec<RunId> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().filter(|(_, failed)| failed.until > now).map(|(run, _)| *run).collect()
    }

    pub(super) fn failed(&self, run: RunId, now: Instant) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= REMEMBERED_MAX {
            // Those that went unnoticed since: they were published by somebody else.
            runs.retain(|_, failed| failed.until + PAUSE_MAX > now);
        }
        let times = runs.get(&run).map_or(0, |failed| failed.times) + 1;
        if runs.len() < REMEMBERED_MAX || times > 1 {
            let pause = PAUSE_MIN.saturating_mul(1 << (times - 1).min(10)).min(PAUSE_MAX);
            runs.insert(run, Failed { times, until: now + pause });
        }
    }

    pub(super) fn succeeded(&self, run: RunId) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_fails_is_left_out_longer_each_time_and_forgotten_once_it_succeeds() {
        let (failing, run, now) = (Failing::default(), RunId::derived(&[b"r"]), Instant::now());
        failing.failed(run, now);
        assert_eq!(failing.at(now), [run]);
        assert_eq!(failing.at(now + PAUSE_MIN), []);
        failing.failed(run, now + PAUSE_MIN);
        assert_eq!(failing.at(now + PAUSE_MIN * 2), [run]);
        for _ in 0..40 {
            failing.failed(run, now);
        }
        assert_eq!(failing.at(now + PAUSE_MAX), []);
        failing.succeeded(run);
        failing.failed(run, now);
        assert_eq!(failing.at(now + PAUSE_MIN), []);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (failing, now) = (Failing::default(), Instant::now());
        let run = |n: usize| RunId::derived(&[&n.to_be_bytes()]);
        (0..REMEMBERED_MAX + 10).for_each(|n| failing.failed(run(n), now));
        assert_eq!(failing.at(now).len(), REMEMBERED_MAX);
        failing.failed(run(REMEMBERED_MAX + 20), now + PAUSE_MAX * 2);
        assert_eq!(failing.at(now + PAUSE_MAX * 2), [run(REMEMBERED_MAX + 20)]);
    }
}
