//! How often one user may call: a token bucket each. Bounded: users beyond the bound make room of the idle ones, and nobody is
//! refused because of how many others there are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use runmesh_domain::id::UserId;
use tokio::time::Instant;

use crate::config::Limits;

/// Users whose buckets are kept: about 6 MiB.
const USERS_MAX: usize = 65_536;

/// The buckets of all users.
pub(crate) struct Admission {
    per_second: f64,
    burst: f64,
    users_max: usize,
    buckets: Mutex<HashMap<UserId, Bucket>>,
}

/// What a user has left, and when that was so.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            per_second: f64::from(limits.calls_per_second),
            burst: f64::from(limits.calls_burst),
            users_max: USERS_MAX,
            buckets: Mutex::default(),
        }
    }

    /// Whether `user` may make one more call now.
    pub(crate) fn admit(&self, user: UserId, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.users_max && !buckets.contains_key(&user) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(user).or_insert(Bucket { left: self.burst, at: now });
        let left = self.refilled(*bucket, now);
        let admitted = left >= 1.0;
        *bucket = Bucket { left: if admitted { left - 1.0 } else { left }, at: now };
        admitted
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + since * self.per_second).min(self.burst)
    }

    /// A full bucket is as good as none. When nobody is idle all start afresh: a burst too many harms less than a refusal.
    fn make_room(&self, buckets: &mut HashMap<UserId, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.refilled(*bucket, now) < self.burst);
        if buckets.len() >= self.users_max {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission(users_max: usize) -> Admission {
        Admission { users_max, ..Admission::new(Limits { calls_per_second: 10, calls_burst: 3 }) }
    }

    fn user(name: &str) -> UserId {
        UserId::of_subject("test", name)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (all, now) = (admission(9), Instant::now());
        let admitted = |at| all.admit(user("a"), at);
        assert_eq!([admitted(now), admitted(now), admitted(now), admitted(now)], [true, true, true, false]);
        assert!(admitted(now + Duration::from_millis(101)));
        assert!(!admitted(now + Duration::from_millis(102)));
        assert!(all.admit(user("b"), now), "somebody else's burst is untouched");
    }

    #[test]
    fn none_means_no_limit() {
        let (all, now) = (Admission::new(Limits { calls_per_second: 0, calls_burst: 0 }), Instant::now());
        assert!((0..1_000).all(|_| all.admit(user("a"), now)));
    }

    #[test]
    fn the_map_is_bounded_and_refuses_nobody_for_it() {
        let (all, now) = (admission(2), Instant::now());
        for name in ["a", "b", "c", "d", "e"] {
            assert!(all.admit(user(name), now), "{name}");
            assert!(all.buckets.lock().map(|buckets| buckets.len() <= 2).unwrap_or(false));
        }
    }

    #[test]
    fn room_is_made_of_the_idle() {
        let (all, now) = (admission(2), Instant::now());
        let later = now + Duration::from_secs(1);
        assert!(all.admit(user("idle"), now));
        assert!((0..3).all(|_| all.admit(user("busy"), later)));
        assert!(all.admit(user("new"), later));
        assert!(!all.admit(user("busy"), later), "a busy user's bucket is not forgotten");
    }
}
