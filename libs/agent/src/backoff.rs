//! Delays between tries. Holds no state but the sequence itself, and never sleeps.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use std::time::Duration;

/// Delays that double from `first` to `most`, with jitter, for ever.
pub(crate) struct Delays {
    inner: backon::ExponentialBackoff,
    most: Duration,
}

impl Delays {
    /// Starts at `first`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(most);
        Self { inner: builder.with_factor(2.0).without_max_times().with_jitter().build(), most }
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        self.inner.next().unwrap_or(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_never_ends() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(80));
        let mut delays = Delays::new(first, most);
        let all: Vec<_> = (0..100).map(|_| delays.next()).collect();
        assert!(all[0] >= first);
        assert!(all.iter().skip(5).all(|delay| *delay >= most && *delay <= most * 2));
    }
}
