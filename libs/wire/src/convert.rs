//! Conversions between the generated types and the domain. `TryFrom` cannot be implemented for `Vec`, `Option`, enums and
//! well-known types of other crates, and it knows no field path; these traits do.

mod agent;
pub mod event;
pub mod journal;
mod message;
mod org;
mod run;
pub mod snapshot;

use runmesh_domain::path::{Path, StepKey};
use runmesh_domain::{Refusal, Timestamp};
use std::str::FromStr;
use std::time::Duration;

/// Into the domain, from what came over the wire.
pub trait FromWire<T> {
    #[expect(clippy::wrong_self_convention, reason = "named by its direction, as the other one is")]
    /// Checks and converts; `path` is where this stands in the request, for the refusal.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`] with the path of the field at fault.
    fn from_wire(self, path: &str) -> Result<T, Refusal>;
}

/// Onto the wire, from the domain.
pub trait IntoWire<T> {
    /// Converts; cannot fail.
    fn into_wire(self) -> T;
}

/// An id out of its text.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `path`.
pub fn id<T>(path: &str, text: &str) -> Result<T, Refusal>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Err(Refusal::field(path, "is required"));
    }
    text.parse().map_err(|error: T::Err| Refusal::field(path, error.to_string()))
}

/// A message field that must be there.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `path`.
pub fn required<T>(path: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::field(path, "is required"))
}

/// A value of an enum that this version knows. What another one means cannot be guessed.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `path`.
pub fn known<T: TryFrom<i32>>(path: &str, number: i32) -> Result<T, Refusal> {
    T::try_from(number).map_err(|_| Refusal::field(path, "is no value that is known here"))
}

/// A number that must not be negative.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `path`.
pub fn unsigned<T, N>(path: &str, number: N) -> Result<T, Refusal>
where
    T: TryFrom<N>,
{
    T::try_from(number).map_err(|_| Refusal::field(path, "is out of range"))
}

/// A count or index as the wire has it: saturates, which no bound of ours comes near.
#[must_use]
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As [`signed`], for 32 bits.
#[must_use]
pub fn signed32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A step out of its index and its branch; `at` is the message that they stand in.
///
/// # Errors
/// [`Refusal::InvalidField`] naming the field below `at`.
pub fn step_key(at: &str, step_index: i32, path: &str) -> Result<StepKey, Refusal> {
    let step_index = unsigned(&join(at, "step_index"), step_index)?;
    // Most steps are of the top level: no field's name is made for them.
    let path = if path.is_empty() { Path::TOP } else { Path::parse(&join(at, "path"), path)? };
    Ok(StepKey { path, step_index })
}

impl IntoWire<(i32, String)> for StepKey {
    /// The index, and the path.
    fn into_wire(self) -> (i32, String) {
        (signed32(self.step_index), self.path.to_string())
    }
}

/// `prefix.name`, or `name` at the top.
#[must_use]
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every element of a list, each under its own path.
///
/// # Errors
/// As the element's own conversion.
pub fn list<W: FromWire<T>, T>(path: &str, items: Vec<W>) -> Result<Vec<T>, Refusal> {
    items.into_iter().enumerate().map(|(index, item)| item.from_wire(&format!("{path}[{index}]"))).collect()
}

impl IntoWire<prost_types::Timestamp> for Timestamp {
    fn into_wire(self) -> prost_types::Timestamp {
        let (seconds, nanos) = self.seconds_and_nanos();
        prost_types::Timestamp { seconds, nanos }
    }
}

impl FromWire<Timestamp> for prost_types::Timestamp {
    fn from_wire(self, path: &str) -> Result<Timestamp, Refusal> {
        let micros = self.seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(i64::from(self.nanos) / 1_000));
        micros.map(Timestamp::from_micros).ok_or_else(|| Refusal::field(path, "is out of range"))
    }
}

impl IntoWire<prost_types::Duration> for Duration {
    fn into_wire(self) -> prost_types::Duration {
        let seconds = signed(self.as_secs());
        prost_types::Duration { seconds, nanos: i32::try_from(self.subsec_nanos()).unwrap_or(0) }
    }
}

impl FromWire<Duration> for prost_types::Duration {
    fn from_wire(self, path: &str) -> Result<Duration, Refusal> {
        Duration::try_from(self).map_err(|_| Refusal::field(path, "must not be negative"))
    }
}
