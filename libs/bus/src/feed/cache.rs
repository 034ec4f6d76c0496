//! The last transitions on the feed that this process knows of. A belief: the server checks every publish against the
//! truth.

use runmesh_domain::id::RunId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The last transition of a run on the feed; the default when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Last {
    pub stream_seq: u64,
    pub version: u64,
}

/// Two generations: when the younger is full the older is dropped, so a run in use stays and the rest goes.
#[derive(Debug)]
pub struct LastCache {
    generations: Mutex<(HashMap<RunId, Last>, HashMap<RunId, Last>)>,
    young_max: usize,
}

impl LastCache {
    /// Holds at most `runs_max` runs.
    pub fn new(runs_max: usize) -> Self {
        Self { generations: Mutex::default(), young_max: (runs_max / 2).max(1) }
    }

    pub fn get(&self, run: RunId) -> Option<Last> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.0.get(&run).or_else(|| generations.1.get(&run)).copied()
    }

    pub fn put(&self, run: RunId, last: Last) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *generations;
        if young.len() >= self.young_max && !young.contains_key(&run) {
            *old = std::mem::take(young);
        }
        young.insert(run, last);
    }

    pub fn forget(&self, run: RunId) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.0.remove(&run);
        generations.1.remove(&run);
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
            cache.put(run(n), Last { stream_seq: 1, version: n as u64 });
        }
        let held = (1..=100).filter(|n| cache.get(run(*n)).is_some()).count();
        assert!(held <= 4, "{held}");
        assert_eq!(cache.get(run(100)).map(|last| last.version), Some(100));
    }

    #[test]
    fn what_is_forgotten_is_gone_from_both_generations() {
        let cache = LastCache::new(2);
        cache.put(run(1), Last::default());
        cache.put(run(2), Last::default());
        cache.forget(run(1));
        assert_eq!(cache.get(run(1)), None);
    }
}
