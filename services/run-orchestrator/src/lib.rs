//! run-orchestrator: threads, runs, their queue, leases and journal. It accepts messages, hands runs to worker sessions, journals
//! what they do, and brings back what was lost.
//!
//! *Invariant:* nothing is published inside a transaction. Commands commit; [`after`] then tells the log, the feed and the
//! other replicas, and the sweeper tells what a dead process could not.

mod after;
mod api;
mod auth;
mod builtin;
mod claim;
mod config;
mod dispatch;
mod encode;
mod founding;
mod idempotent;
mod marks;
mod mesh;
mod ready;
mod serve;
mod sessions;
mod settle;
mod sweeper;

pub use config::{BuiltinWorker, Config, Role};
pub use serve::{serve, services};
