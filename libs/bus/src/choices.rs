//! What an operator chooses about the streams: the section `bus` of the settings of every service that uses them.
//!
//! What is absent is not chosen: a stream that is made gets the default, and one that is there stays as it is.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The least that a stream may be set to keep: below this a few runs push each other's logs out.
const BYTES_MIN: u64 = 16 << 20;
/// The most: a bound for arithmetic.
const BYTES_MAX: u64 = 1 << 50;
/// The shortest time that a stream may be set to keep its messages: a run lasts longer than minutes.
const AGE_MIN: Duration = Duration::from_secs(3_600);
/// The longest: a bound for arithmetic, of ten years.
const AGE_MAX: Duration = Duration::from_secs(3_650 * DAY);
const DAY: u64 = 86_400;

/// Choices about the streams of the mesh. See the module for what an absent one means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamChoices {
    /// Copies of each stream, on as many servers of a cluster: 1, 3 or 5. Default 1.
    pub replicas: Option<Replicas>,
    /// How much the run log keeps, 16 MiB to 1 PiB; the oldest goes first. Default 1 GiB.
    pub log_bytes_max: Option<Size>,
    /// How long the run log keeps what it holds, 1 h to 3650 d. Default 72 h, longer than a run may wait for a person.
    pub log_age: Option<Age>,
    /// How much the transition feed keeps, 16 MiB to 1 PiB; the oldest goes first. Default 256 MiB.
    pub feed_bytes_max: Option<Size>,
    /// How long the transition feed keeps what it holds, 1 h to 3650 d. Default 72 h.
    pub feed_age: Option<Age>,
    /// Which servers hold the streams. Default: NATS chooses.
    pub placement: Placement,
}

/// Which servers of NATS may hold a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// The name of their cluster; any when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Tags that each of them has; none wanted when empty.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Placement {
    /// Whether nothing was chosen.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.cluster.is_empty() && self.tags.is_empty()
    }
}

/// Copies of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas(u8);

impl Replicas {
    /// One copy: what a single server can hold.
    pub const ONE: Self = Self(1);

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(count @ (1 | 3 | 5)) => Ok(Self(count)),
            Ok(_) | Err(_) => Err(format!("`{text}` copies of a stream cannot be: choose 1, 3 or 5")),
        }
    }
}

/// An amount of bytes, written as a number or like `512MiB`, `3GiB`, `1TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// Of so many MiB, for defaults.
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match amount(text, &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]) {
            None => Err(format!("`{text}` is no size: write a number of bytes, or an amount like 512MiB, 3GiB or 1TiB")),
            Some(bytes) if (BYTES_MIN..=BYTES_MAX).contains(&bytes) => Ok(Self(bytes)),
            Some(_) => Err(format!("`{text}` is out of bounds: a stream keeps 16MiB to 1024TiB")),
        }
    }
}

/// How long something is kept, written like `90m`, `72h`, `14d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(Duration);

impl Age {
    /// Of so many hours, for defaults.
    pub(crate) const fn hours(count: u64) -> Self {
        Self(Duration::from_secs(count * 3_600))
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match amount(text, &[("s", 1), ("m", 60), ("h", 3_600), ("d", DAY)]).map(Duration::from_secs) {
            None => Err(format!("`{text}` is no age: write it like 90m, 72h or 14d")),
            Some(age) if (AGE_MIN..=AGE_MAX).contains(&age) => Ok(Self(age)),
            Some(_) => Err(format!("`{text}` is out of bounds: a stream keeps what it holds for 1h to 3650d")),
        }
    }
}

/// A number with one of these units behind it.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (_, of) = units.iter().find(|(name, _)| *name == unit.trim())?;
    count.parse::<u64>().ok()?.checked_mul(*of)
}

/// Bytes for people: `1.5 GiB`.
#[must_use]
pub fn shown_bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else { return format!("{bytes} B") };
    let tenths = (u128::from(bytes) * 10) >> shift;
    if tenths.is_multiple_of(10) { format!("{} {unit}", tenths / 10) } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// An age for people: `14 d`, `72 h`, `90 s`.
#[must_use]
pub fn shown_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [("d", DAY), ("h", 3_600), ("min", 60)];
    // Three days and less are better said in hours.
    let fits = |(_, of): &(&str, u64)| seconds.is_multiple_of(*of) && seconds / of > if *of == DAY { 3 } else { 0 };
    let (unit, of) = units.into_iter().find(fits).unwrap_or(("s", 1));
    format!("{} {unit}", seconds / of)
}

/// Files have numbers and texts, the environment has texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

fn written<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.trim().parse().map_err(D::Error::custom)
}

macro_rules! deserialize_as_written {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                written(deserializer)
            }
        }
    )*};
}

deserialize_as_written!(Replicas, Size, Age);

#[derive(Deserialize)]
#[serde(untagged)]
enum Many {
    List(Vec<String>),
    Commas(String),
}

/// A list: an array in a file, commas in the environment.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all = match Many::deserialize(deserializer)? {
        Many::List(all) => all,
        Many::Commas(text) => text.split(',').map(str::to_owned).collect(),
    };
    Ok(all.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<StreamChoices, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn files_and_environments_say_the_same() {
        let file = read(json!({
            "replicas": 3, "log_bytes_max": 3_221_225_472_u64, "log_age": "14d", "feed_bytes_max": "512MiB", "feed_age": "96h",
            "placement": {"cluster": "east", "tags": ["ssd", "eu"]},
        }));
        let environment = read(json!({
            "replicas": "3", "log_bytes_max": "3GiB", "log_age": "336h", "feed_bytes_max": "536870912", "feed_age": "4d",
            "placement": {"cluster": "east", "tags": "ssd, eu"},
        }));
        assert!(file.is_ok(), "{file:?}");
        assert_eq!(file, environment);
        assert_eq!(read(json!({})), Ok(StreamChoices::default()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        for (value, words) in [
            (json!({"replicas": 2}), "choose 1, 3 or 5"),
            (json!({"replicas": "many"}), "choose 1, 3 or 5"),
            (json!({"log_bytes_max": "3GB"}), "like 512MiB"),
            (json!({"log_bytes_max": 1_000}), "16MiB to 1024TiB"),
            (json!({"log_bytes_max": "99999999999999999TiB"}), "is no size"),
            (json!({"feed_age": "5m"}), "1h to 3650d"),
            (json!({"log_age": 72}), "like 90m, 72h or 14d"),
            (json!({"replica": 3}), "unknown field"),
            (json!({"placement": {"tag": "x"}}), "unknown field"),
        ] {
            let refused = read(value.clone()).err().unwrap_or_default();
            assert!(refused.contains(words), "{value}: {refused}");
        }
    }

    #[test]
    fn amounts_are_shown_as_people_say_them() {
        let bytes = [(1 << 30, "1 GiB"), (1_610_612_736, "1.5 GiB"), (900, "900 B"), (320 << 20, "320 MiB")];
        bytes.into_iter().for_each(|(bytes, shown)| assert_eq!(shown_bytes(bytes), shown));
        let ages = [(72 * 3_600, "72 h"), (14 * DAY, "14 d"), (90, "90 s"), (5_400, "90 min"), (0, "0 s")];
        ages.into_iter().for_each(|(seconds, shown)| assert_eq!(shown_age(Duration::from_secs(seconds)), shown));
    }
}
