//! Randomness good enough for jitter and for names of requests. Never for keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// 64 bits that differ from call to call and from process to process.
pub(crate) fn bits() -> u64 {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    SEED.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `period` moved by up to a tenth either way, so that replicas started together do not tick together.
pub(crate) fn jittered(period: Duration) -> Duration {
    let permille = u32::try_from(bits() % 201).unwrap_or_default();
    (period / 1000).saturating_mul(900 + permille)
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
}
