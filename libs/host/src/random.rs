//! Randomness good enough for jitter and for names of requests. Never for keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// 64 bits that differ from call to call and from process to process.
#[must_use]
pub fn bits() -> u64 {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    SEED.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `period` moved by up to a tenth either way, so that replicas started together do not tick together.
#[must_use]
pub fn jittered(period: Duration) -> Duration {
    let permille = u32::try_from(bits() % 201).unwrap_or_default();
    (period / 1000).saturating_mul(900 + permille)
}

/// A time from `least` on and below `most`, each as likely as another; `least` when the two are no range.
#[must_use]
pub fn between(least: Duration, most: Duration) -> Duration {
    let range = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
    least.saturating_add(Duration::from_micros(bits().checked_rem(range).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_moves() {
        let period = Duration::from_secs(10);
        let drawn: Vec<Duration> = (0..64).map(|_| jittered(period)).collect();
        assert!(drawn.iter().all(|d| *d >= Duration::from_secs(9) && *d <= Duration::from_secs(11)));
        assert!(drawn.iter().any(|d| *d != drawn[0]));
    }

    #[test]
    fn a_time_between_two_stays_there_and_moves() {
        let (least, most) = (Duration::from_secs(15), Duration::from_secs(60));
        let drawn: Vec<Duration> = (0..64).map(|_| between(least, most)).collect();
        assert!(drawn.iter().all(|d| *d >= least && *d < most));
        assert!(drawn.iter().any(|d| *d != drawn[0]));
        assert_eq!((between(least, least), between(most, least)), (least, most));
    }
}
