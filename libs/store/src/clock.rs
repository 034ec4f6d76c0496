//! Tells a database clock that jumped from one that ran on. Decides nothing about leases itself: it says when not to.

use runmesh_domain::Timestamp;
use std::time::{Duration, Instant};

/// How far the two clocks may drift apart between two looks before it is called a jump.
const SLACK: Duration = Duration::from_secs(1);

/// Compares the database's clock with this process's monotonic one, look by look.
#[derive(Debug, Default)]
pub struct ClockGuard {
    last: Option<(Timestamp, Instant)>,
}

impl ClockGuard {
    /// True when the database's clock went on as this process's did since the last look. The first look is never trusted:
    /// there is nothing to compare it with.
    pub fn is_steady(&mut self, database: Timestamp, here: Instant) -> bool {
        let before = self.last.replace((database, here));
        before.is_some_and(|(then, at)| {
            let passed = here.saturating_duration_since(at);
            let backwards = database < then;
            !backwards && database.since(then).abs_diff(passed) <= SLACK
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_either_way_are_seen() {
        let mut guard = ClockGuard::default();
        let start = Instant::now();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let here = |seconds| start + Duration::from_secs(seconds);
        assert!(!guard.is_steady(at(100), here(0)));
        assert!(guard.is_steady(at(105), here(5)));
        assert!(!guard.is_steady(at(200), here(6)));
        assert!(guard.is_steady(at(201), here(7)));
        assert!(!guard.is_steady(at(150), here(8)));
    }
}
