//! When to try again. Pure but for the jitter; never sleeps itself.

use crate::bounds;
use crate::error::ClientError;
use crate::key;
use std::time::Duration;

/// How long to pause before try `tries` + 1: doubling from 100 ms to 3 s, of which half is chance.
pub(crate) fn backoff(tries: u32, chance: f64) -> Duration {
    let doubled = bounds::PAUSE_MIN.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    let whole = doubled.min(bounds::PAUSE_MAX);
    whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// The pause before the next try: what the server asked for and up to half of it more, or the backoff when that is longer.
/// Clients that were sent away together do not come back together.
pub(crate) fn pause(tries: u32, error: &ClientError) -> Duration {
    let asked = error.retry_after().unwrap_or(Duration::ZERO).min(bounds::PAUSE_ASKED_MAX);
    backoff(tries, key::chance()).max(asked.mul_f64(1.0 + 0.5 * key::chance()))
}

/// The tries of one call.
pub(crate) struct Retry {
    tries: u32,
    tries_max: u32,
}

impl Retry {
    pub(crate) const fn new(tries_max: u32) -> Self {
        Self { tries: 0, tries_max }
    }

    /// Counts a failed try; how long to wait before the next, or nothing when there is to be none.
    pub(crate) fn pause_after(&mut self, error: &ClientError) -> Option<Duration> {
        self.tries = self.tries.saturating_add(1);
        (error.is_passing() && self.tries < self.tries_max).then(|| pause(self.tries, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::{Reason, Refusal};
    use runmesh_wire::status;

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(100));
        assert_eq!(backoff(2, 0.0), Duration::from_millis(100));
        assert_eq!(backoff(60, 1.0), bounds::PAUSE_MAX);
    }

    #[test]
    fn waits_as_long_as_the_server_asks() {
        let mut retry = Retry::new(2);
        let error = ClientError::of_status(status::unavailable("away"), "x");
        assert!(retry.pause_after(&error).is_some_and(|pause| pause >= Duration::from_millis(500)));
        assert_eq!(retry.pause_after(&error), None, "the tries are bounded");
    }

    #[test]
    fn clients_that_are_sent_away_together_come_back_one_by_one() {
        let refusal = Refusal::Overloaded { what: "the database", retry_after: Duration::from_secs(2) };
        let error = ClientError::of_status(status::of_refusal(&refusal), "x");
        let pauses: Vec<Duration> = (0..32).map(|_| pause(1, &error)).collect();
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(3));
        assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        for reason in Reason::ALL {
            let error = ClientError::of_status(status::plain(*reason, "no"), "x");
            let passing = matches!(reason, Reason::Unavailable | Reason::Draining | Reason::Overloaded);
            assert_eq!(Retry::new(9).pause_after(&error).is_some(), passing, "{reason:?}");
        }
    }
}
