//! Durations in configuration: `250ms`, `5s`, `10m`, `72h`. Use as `#[serde(with = "runmesh_host::config::duration")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// The duration `text` says.
///
/// # Errors
///
/// A sentence that says which forms are known.
pub fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let value: u64 = digits.parse().map_err(|_| unknown(text))?;
    let millis = match unit {
        "ms" => Some(value),
        "s" => value.checked_mul(1_000),
        "m" => value.checked_mul(60_000),
        "h" => value.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(|| unknown(text))
}

fn unknown(text: &str) -> String {
    format!("`{text}` is no duration, write it like 250ms, 5s, 10m or 72h")
}

/// Reads a duration.
///
/// # Errors
///
/// When the text is none.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Writes a duration in milliseconds.
///
/// # Errors
///
/// Those of the serialiser.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}ms", duration.as_millis()))
}

/// As the parent module, for `Option<Duration>`; the text `none` is `None`.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, de, parse};

    /// Reads a duration or `none`.
    ///
    /// # Errors
    ///
    /// When the text is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("none") => Ok(None),
            Some(text) => parse(text).map(Some).map_err(de::Error::custom),
        }
    }
}
