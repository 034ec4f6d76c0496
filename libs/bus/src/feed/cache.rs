//! The last transitions on the feed that this process knows of. A belief: the server checks every publish against the
//! truth.

use runmesh_domain::id::RunId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last transition of a run on the feed; the default when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Last {
    pub stream_seq: u64,
    pub version: u64,
}

/// Two generations: when the younger is full the older is dropped, so a run in use stays and the rest goes.
#[derive(Debug)]
pub struct LastCache {
    held: Mutex<Held>,
    young_max: usize,
}

#[derive(Debug, Default)]
struct Held {
    young: HashMap<RunId, Last>,
    old: HashMap<RunId, Last>,
    /// How many losses of the connection or of the leader came before this was learnt.
    losses: u64,
}

impl Held {
    /// After a loss the feed may be another one: everything is forgotten.
    fn note(&mut self, losses: u64) {
        if losses > self.losses {
            *self = Self { losses, ..Self::default() };
        }
    }
}

impl LastCache {
    /// Holds at most `runs_max` runs.
    pub fn new(runs_max: usize) -> Self {
        Self { held: Mutex::default(), young_max: (runs_max / 2).max(1) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a run, when there were `losses` so far.
    pub fn get(&self, run: RunId, losses: u64) -> Option<Last> {
        let mut held = self.held();
        held.note(losses);
        held.young.get(&run).or_else(|| held.old.get(&run)).copied()
    }

    /// Remembers what was learnt by something that began after `losses`, unless there was another one since.
    pub fn put(&self, run: RunId, last: Last, losses: u64) {
        let mut held = self.held();
        held.note(losses);
        if losses < held.losses {
            return;
        }
        if held.young.len() >= self.young_max && !held.young.contains_key(&run) {
            held.old = std::mem::take(&mut held.young);
        }
        held.young.insert(run, last);
    }

    pub fn forget(&self, run: RunId) {
        let mut held = self.held();
        held.young.remove(&run);
        held.old.remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn run(n: u128) -> RunId {
        RunId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn never_holds_more_than_its_bound_and_keeps_the_newest() {
        let cache = LastCache::new(4);
        for n in 1..=100 {
            cache.put(run(n), Last { stream_seq: 1, version: n as u64 }, 0);
        }
        let held = (1..=100).filter(|n| cache.get(run(*n), 0).is_some()).count();
        assert!(held <= 4, "{held}");
        assert_eq!(cache.get(run(100), 0).map(|last| last.version), Some(100));
    }

    #[test]
    fn what_is_forgotten_is_gone_from_both_generations() {
        let cache = LastCache::new(2);
        cache.put(run(1), Last::default(), 0);
        cache.put(run(2), Last::default(), 0);
        cache.forget(run(1));
        assert_eq!(cache.get(run(1), 0), None);
    }

    #[test]
    fn nothing_is_remembered_over_a_loss() {
        let cache = LastCache::new(4);
        let last = Last { stream_seq: 1, version: 1 };
        cache.put(run(1), last, 7);
        assert_eq!(cache.get(run(1), 7), Some(last));
        assert_eq!(cache.get(run(1), 8), None);
        // A publish that began before the loss ends after it.
        cache.put(run(1), last, 7);
        assert_eq!((cache.get(run(1), 8), cache.get(run(1), 7)), (None, None));
    }
}
