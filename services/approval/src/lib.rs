//! approval: the inbox of what people have to decide.
//!
//! It reads pending actions; what expires is ended by the orchestrator's sweeper, in the one place where runs change.

mod api;
mod config;
mod serve;

pub use config::Config;
pub use serve::{serve, services};
