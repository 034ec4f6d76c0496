//! The tool `current_time`. The time is a parameter: this file reads no clock.

use runmesh_domain::agent::check_time_zone;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// `now` in the offset of `zone`, to the second, with the day of the week, which models guess wrongly.
pub(super) fn tell(now: OffsetDateTime, zone: &str) -> String {
    let seconds = check_time_zone(zone).unwrap_or(0);
    let offset = UtcOffset::from_whole_seconds(seconds).unwrap_or(UtcOffset::UTC);
    let local = now.to_offset(offset).replace_nanosecond(0).unwrap_or(now);
    let text = local.format(&Rfc3339).unwrap_or_else(|_| local.to_string());
    format!("{text} ({})", local.weekday())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_time_where_the_agent_lives() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(tell(now, ""), "2023-11-14T22:13:20Z (Tuesday)");
        assert_eq!(tell(now, "+02:00"), "2023-11-15T00:13:20+02:00 (Wednesday)");
        assert_eq!(tell(now, "-05:30"), "2023-11-14T16:43:20-05:30 (Tuesday)");
    }
}
