//! Spans of time as people write them in a file: `500ms`, `120s`, `10m`, `1h`.

/// Milliseconds of a span.
///
/// # Errors
/// In words: what was wanted.
pub fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time; want a number and ms, s, m or h, such as 120s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn units_are_needed() {
        assert_eq!(
            [millis("500ms"), millis("120s"), millis("10 m"), millis("1h")],
            [Ok(500), Ok(120_000), Ok(600_000), Ok(3_600_000)]
        );
        for bad in ["", "120", "s", "-1s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
