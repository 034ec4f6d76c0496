//! summary: who is working on what, in numbers and rows.
//!
//! It answers from Postgres and says when the numbers were true; a slow or failing summary never touches a run.

mod api;
mod config;
mod serve;

pub use config::Config;
pub use serve::{serve, services};
