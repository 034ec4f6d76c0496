//! How things go wrong with NATS, as the domain says it. Never shown to callers in detail.

use runmesh_domain::{Error, Fault};
use std::fmt::Display;

/// The part that faults of this crate name.
const PART: &str = "nats";

/// NATS could not be reached, and nothing was done.
pub fn unavailable(detail: impl Display) -> Error {
    Error::Fault(Fault::Unavailable { part: PART, detail: detail.to_string() })
}

/// Something that cannot be, is.
pub fn internal(detail: impl Display) -> Error {
    Error::Fault(Fault::internal(detail.to_string()))
}

/// NATS is there and cannot be used as it is: what is wrong and what to do, for an operator.
pub fn unusable(detail: impl Into<String>) -> Error {
    Error::Fault(Fault::unusable(PART, detail))
}
