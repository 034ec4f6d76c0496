//! A clock that only goes forward and counts the time the machine was suspended: a lease ends while its holder sleeps.

use std::time::Duration;

/// A moment on this machine's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

#[cfg(target_os = "linux")]
const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Elsewhere the monotonic clock is the best there is; on macOS it counts suspended time.
#[cfg(not(target_os = "linux"))]
const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

impl Moment {
    /// Now.
    pub(super) fn now() -> Self {
        let now = rustix::time::clock_gettime(CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// How long this lies before `later`; zero when it does not.
    pub(super) const fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }

    /// How long ago this was.
    pub(super) fn elapsed(self) -> Duration {
        self.until(Self::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forward() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(second >= first);
        assert_eq!(second.until(first), second.until(second).min(Duration::ZERO));
        assert!(first.elapsed() < Duration::from_secs(60));
    }
}
