//! The log lines of calls that failed because a part of the mesh is away. Each such call fails for the same reason, so one line in
//! a second says enough: thousands of them would bury what is really wrong.

use std::fmt::Display;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines.
const BETWEEN: Duration = Duration::from_secs(1);

/// When to write a line, and how many were left out since the last one.
#[derive(Debug, Default)]
struct Sparing {
    last: Option<Instant>,
    left_out: u64,
}

impl Sparing {
    /// How many lines were left out before this one; nothing when this one is left out too.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Logs the fault of a call where it leaves the process. An outage is a warning, at most once a second, with the number of calls
/// that failed since the last line; anything else is an error, each of them.
pub fn log_failed_call(fault: &dyn Display, is_outage: bool) {
    static OUTAGES: LazyLock<Mutex<Sparing>> = LazyLock::new(Mutex::default);
    if !is_outage {
        tracing::error!(%fault, "a call failed");
        return;
    }
    let line = OUTAGES.lock().unwrap_or_else(PoisonError::into_inner).line(Instant::now());
    if let Some(left_out) = line {
        tracing::warn!(%fault, left_out, "a call failed, because a part is away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_line_and_the_next_one_counts_the_rest() {
        let (mut sparing, start) = (Sparing::default(), Instant::now());
        assert_eq!(sparing.line(start), Some(0));
        for tick in 1..BETWEEN.as_millis() {
            assert_eq!(sparing.line(start + Duration::from_millis(u64::try_from(tick).unwrap_or(0))), None);
        }
        assert_eq!(sparing.line(start + BETWEEN), Some(999));
        assert_eq!(sparing.line(start + 2 * BETWEEN), Some(0), "each is counted once");
    }
}
