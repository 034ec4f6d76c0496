//! The vocabulary of runmesh and its rules.
//!
//! *Invariant:* this crate is pure. It has no async, no IO, no clock and no randomness, and it knows neither protobuf nor
//! SQL. Time, ids and random numbers are parameters.

pub mod actor;
pub mod agent;
pub mod canonical;
pub mod chain;
pub mod cursor;
pub mod error;
pub mod event;
pub mod fold;
pub mod id;
pub mod invariants;
pub mod journal;
pub mod limits;
pub mod log;
pub mod message;
pub mod path;
pub mod policy;
pub mod principal;
pub mod reason;
pub mod run;
pub mod schema;
pub mod spec;
pub mod text;
pub mod time;
pub mod transition;

pub use error::{Error, Fault, Refusal, Result};
pub use reason::Reason;
pub use time::Timestamp;
