//! Times for people: always UTC, never of a zone that differs between two readers.

use runmesh_domain::Timestamp;
use runmesh_wire::FromWire as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time of the wire, when there is one.
pub fn of_wire(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|time| time.from_wire("time").ok())
}

/// `HH:MM:SS`, UTC.
pub fn clock(time: Timestamp) -> String {
    let seconds = time.seconds_and_nanos().0.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// `HH:MM:SS.mmm`, UTC.
pub fn precise(time: Timestamp) -> String {
    format!("{}.{:03}", clock(time), time.seconds_and_nanos().1 / 1_000_000)
}

/// How long ago, `12s ago`.
pub fn ago(time: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    of_wire(time).map_or_else(String::new, |time| format!("{} ago", span(now.since(time))))
}

/// A span in its largest fitting unit, `12s`.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_spans_are_short() {
        let time = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!((clock(time), precise(time)), ("22:13:20".to_owned(), "22:13:20.123".to_owned()));
        let spans = [0, 119, 120, 7_200, 172_800].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["0s", "119s", "2m", "2h", "2d"]);
    }
}
