//! How long a follower goes on trying, and how fast. Reads no clock: the times are parameters.

use crate::error::ClientError;
use crate::retry;
use std::time::Duration;
use tokio::time::Instant;

/// Counts tries without success.
#[derive(Debug)]
pub(super) struct Patience {
    bound: Duration,
    heard: Instant,
    tries: u32,
}

impl Patience {
    pub(super) const fn new(bound: Duration, now: Instant) -> Self {
        Self { bound, heard: now, tries: 0 }
    }

    /// Something came: the bound starts anew. Only what brings a reader on shortens the next pause again; a relay that
    /// says hello and breaks, over and over, is asked less and less often.
    pub(super) const fn heard(&mut self, now: Instant, brought_on: bool) {
        self.heard = now;
        if brought_on {
            self.tries = 0;
        }
    }

    /// How long to pause after `error`; nothing when patience is at its end.
    pub(super) fn pause(&mut self, now: Instant, error: &ClientError) -> Option<Duration> {
        if now.saturating_duration_since(self.heard) >= self.bound {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        Some(retry::pause(self.tries, error))
    }

    pub(super) const fn bound(&self) -> Duration {
        self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: ClientError = ClientError::Interrupted { problem: "it broke" };

    #[test]
    fn patience_ends_and_begins_anew() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(60), start);
        assert!(patience.pause(start + Duration::from_secs(59), &BROKEN).is_some());
        assert!(patience.pause(start + Duration::from_secs(60), &BROKEN).is_none());
        patience.heard(start + Duration::from_secs(60), true);
        assert!(patience.pause(start + Duration::from_secs(61), &BROKEN).is_some_and(|pause| pause < Duration::from_secs(1)));
    }

    #[test]
    fn a_relay_that_only_says_hello_is_asked_less_often() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(60), start);
        for _ in 0..8 {
            patience.heard(start, false);
            assert!(patience.pause(start, &BROKEN).is_some());
        }
        assert!(patience.pause(start, &BROKEN).is_some_and(|pause| pause >= Duration::from_secs(1)));
    }
}
