//! How often a watched run that is quiet is compared with Postgres: soon at first, then less and less often while nothing changes.
//! Reads no clock: the times are parameters.

use crate::limits;
use runmesh_host::random;
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    due: Instant,
    pause: Duration,
}

impl Pace {
    /// Of a run from whose log something came now.
    pub fn begin(now: Instant) -> Self {
        Self { due: now + limits::PROBE_QUIET, pause: limits::PROBE_QUIET }
    }

    /// Whether the run is to be compared.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// It was compared and nothing had changed: the next time comes later, at most after `longest`.
    pub fn slow_down(&mut self, now: Instant, longest: Duration) {
        self.pause = (self.pause * 2).min(longest).max(limits::PROBE_QUIET);
        self.due = now + random::jittered(self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_run_is_compared_less_and_less_often_and_never_stops_being() {
        let mut now = Instant::now();
        let mut pace = Pace::begin(now);
        assert!(!pace.is_due(now));
        let mut comparisons = 0;
        let end = now + Duration::from_secs(3_600);
        while now < end {
            if pace.is_due(now) {
                comparisons += 1;
                pace.slow_down(now, limits::PROBE_LONGEST);
            }
            now += limits::PROBE_PERIOD;
        }
        let (at_least, at_most) = (3_600 / (limits::PROBE_LONGEST.as_secs() + 3), 3_600 / limits::PROBE_LONGEST.as_secs() + 30);
        assert!((at_least..=at_most).contains(&comparisons), "{comparisons}");
    }
}
