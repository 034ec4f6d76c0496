//! How many open runs the orgs had a moment ago, so that not every message of a busy org counts them all. Only a bound of
//! tens of thousands is judged by it: what it misses within a second does not matter there.

use runmesh_domain::id::OrgId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a count is good.
const FRESH: Duration = Duration::from_secs(1);
/// Counts below this cost next to nothing and are taken anew each time, so that small bounds are met exactly.
const SMALL: i64 = 1_000;
/// Orgs remembered at most.
const ORGS_MAX: usize = 10_000;

/// The counts, shared by the transactions of a process.
#[derive(Debug, Default)]
pub(crate) struct OpenCounts(Mutex<HashMap<OrgId, (i64, Instant)>>);

impl OpenCounts {
    /// The org's count, when it is a large one and was taken just now.
    pub(crate) fn recent(&self, org: OrgId) -> Option<i64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&org).filter(|(_, taken)| taken.elapsed() < FRESH).map(|(count, _)| *count)
    }

    /// One more run, on top of a count taken now or of the one remembered.
    pub(crate) fn learn(&self, org: OrgId, count: i64, taken_now: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !taken_now {
            if let Some((known, _)) = counts.get_mut(&org) {
                *known += 1;
            }
        } else if count < SMALL {
            counts.remove(&org);
        } else {
            if counts.len() >= ORGS_MAX {
                counts.clear();
            }
            counts.insert(org, (count, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn only_large_counts_are_remembered() {
        let (counts, org) = (OpenCounts::default(), OrgId::from_uuid(Uuid::nil()));
        counts.learn(org, 10, true);
        assert_eq!(counts.recent(org), None);
        counts.learn(org, 5_000, true);
        counts.learn(org, 5_001, false);
        assert_eq!(counts.recent(org), Some(5_001));
        counts.learn(org, 3, true);
        assert_eq!(counts.recent(org), None);
    }
}
