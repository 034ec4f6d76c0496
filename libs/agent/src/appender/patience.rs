//! How long the relay of a stream is waited for. Reads no clock: the times are parameters.

use std::time::Duration;
use tokio::time::Instant;

/// How long a relay that owes acknowledgements may send nothing at all. It repeats its last one every half second while the log is
/// slow, so one that sends nothing stands still, or nothing reaches it.
const SILENCE: Limit = Limit::new(Duration::from_millis(1_500), Duration::from_secs(6));
/// How long it may send signs of life and acknowledge nothing more: longer than the log takes for its own elections. Then its way to
/// the log is at fault, or the log itself; the limit grows, since moving on does not help against that.
const STANDSTILL: Limit = Limit::new(Duration::from_secs(4), Duration::from_secs(32));

/// A time that doubles whenever it runs out, and comes down again while answers come sooner.
#[derive(Debug, Clone, Copy)]
struct Limit {
    first: Duration,
    most: Duration,
    now: Duration,
}

impl Limit {
    const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, now: first }
    }

    fn ran_out(&mut self) {
        self.now = (self.now * 2).min(self.most);
    }

    /// Something came after `wait`: twice that is not too long to wait for the next one.
    fn lasted(&mut self, wait: Duration) {
        let less = self.now - self.now / 8;
        self.now = less.max(wait * 2).clamp(self.first, self.most);
    }
}

/// The limits of one attempt, over all its streams, and what is waited for.
#[derive(Debug)]
pub(super) struct Patience {
    silence: Limit,
    standstill: Limit,
    /// The last sign of life, or when the relay came to owe one.
    last_sign: Instant,
    /// The last acknowledgement of something more, or when the relay came to owe one.
    moved: Instant,
}

impl Patience {
    pub(super) const fn new(now: Instant) -> Self {
        Self { silence: SILENCE, standstill: STANDSTILL, last_sign: now, moved: now }
    }

    /// The relay owes an answer from now on.
    pub(super) const fn owed(&mut self, now: Instant) {
        (self.last_sign, self.moved) = (now, now);
    }

    /// The relay sent something; `has_moved` when that acknowledged something more.
    pub(super) fn received(&mut self, now: Instant, has_moved: bool) {
        self.silence.lasted(now.saturating_duration_since(self.last_sign));
        self.last_sign = now;
        if has_moved {
            self.standstill.lasted(now.saturating_duration_since(self.moved));
            self.moved = now;
        }
    }

    /// When a relay that owes something is to be left.
    pub(super) fn until(&self) -> Instant {
        (self.last_sign + self.silence.now).min(self.moved + self.standstill.now)
    }

    /// The relay was left: another one is waited for a little longer in the same case.
    pub(super) fn ran_out(&mut self, now: Instant) {
        if now >= self.last_sign + self.silence.now {
            self.silence.ran_out();
        }
        if now >= self.moved + self.standstill.now {
            self.standstill.ran_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_relay_that_says_nothing_is_left_within_two_seconds() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            patience.owed(now);
            assert!(patience.until() - now < ms(2_000), "whatever was before");
            patience.received(now + ms(20), true);
        }
    }

    #[tokio::test]
    async fn a_relay_of_a_slow_log_is_kept_as_long_as_it_gives_signs() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        for half in 1..=7 {
            let now = start + ms(500) * half;
            assert!(now < patience.until());
            patience.received(now, false);
        }
        assert_eq!(patience.until() - start, ms(4_000), "but not for ever");
    }

    #[tokio::test]
    async fn moving_on_that_does_not_help_is_done_less_often() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        let mut moves = Vec::new();
        for _ in 0..6 {
            patience.owed(now);
            let began = now;
            while now < patience.until() {
                now += ms(500);
                if now < patience.until() {
                    patience.received(now, false);
                }
            }
            patience.ran_out(now);
            moves.push((now - began).as_secs());
        }
        assert_eq!(moves, [4, 8, 16, 32, 32, 32]);
    }

    #[tokio::test]
    async fn a_log_that_always_takes_five_seconds_is_waited_for() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        let mut moves = 0;
        for _ in 0..50 {
            patience.owed(now);
            for _ in 0..10 {
                now += ms(500);
                if now >= patience.until() {
                    moves += 1;
                    patience.ran_out(now);
                    break;
                }
                patience.received(now, false);
            }
            patience.received(now, true);
        }
        assert_eq!(moves, 1, "one try shows how slow it is");
    }

    #[tokio::test]
    async fn silence_of_every_relay_is_waited_for_longer_and_forgotten_afterwards() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        for wait in [1_500, 3_000, 6_000, 6_000] {
            patience.owed(now);
            assert_eq!(patience.until().min(now + SILENCE.most) - now, ms(wait).min(patience.standstill.now));
            now = patience.until();
            patience.ran_out(now);
        }
        for _ in 0..20 {
            patience.owed(now);
            patience.received(now + ms(10), true);
        }
        patience.owed(now);
        assert_eq!(patience.until() - now, ms(1_500));
    }
}
