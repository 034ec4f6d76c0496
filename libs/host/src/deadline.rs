//! The time a call has left, and its form on the wire (`grpc-timeout`). Never waits by itself: the server layer and the
//! upstream picker do.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

/// Header of the remaining time, as gRPC over HTTP/2 defines it: at most eight digits and a unit.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

const MAX_DIGITS_VALUE: u128 = 99_999_999;

/// The instant at which a call is given up. The server puts it into the extensions of each request that has one; put it into
/// those of an outgoing request and [`Upstream`](crate::Upstream) sends on what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// A deadline `time` from now. `None` when the clock cannot express it.
    #[must_use]
    pub fn after(time: Duration) -> Option<Self> {
        Instant::now().checked_add(time).map(Self)
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_past(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// The time-out a caller sent. A malformed one counts as absent, as gRPC servers do.
#[must_use]
pub fn from_headers(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// `remaining` as a header value, rounded up to a whole unit so that a hop never adds a time-out of zero.
#[must_use]
pub fn to_header(remaining: Duration) -> HeaderValue {
    let micros = remaining.as_micros();
    let (value, unit) = if micros <= MAX_DIGITS_VALUE {
        (micros, 'u')
    } else if micros.div_ceil(1_000) <= MAX_DIGITS_VALUE {
        (micros.div_ceil(1_000), 'm')
    } else {
        (micros.div_ceil(1_000_000).min(MAX_DIGITS_VALUE), 'S')
    };
    HeaderValue::from_str(&format!("{value}{unit}")).unwrap_or(HeaderValue::from_static("0u"))
}

fn parse(text: &str) -> Option<Duration> {
    let split = text.len().checked_sub(1)?;
    let (digits, unit) = (text.get(..split)?, text.get(split..)?);
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, want) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("1x", None),
            ("-1S", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_never_longer_than_eight_digits() {
        for time in [
            Duration::ZERO,
            Duration::from_micros(1),
            Duration::from_secs(99),
            Duration::from_secs(86_400),
            Duration::from_secs(400_000),
        ] {
            let header = to_header(time);
            let text = header.to_str().unwrap_or_default();
            assert!(text.len() <= 9, "{text}");
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }
}
