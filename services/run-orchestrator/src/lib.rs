//! run-orchestrator: threads, runs, their queue, leases and journal. It accepts messages, hands runs to worker sessions, journals
//! what they do, and brings back what was lost.
//!
//! *Invariant:* nothing is published inside a transaction. Commands commit, and answer what follows; the publisher of
//! `runmesh-command` has it after the commit, and the sweeper what a dead process did not publish.

mod api;
mod assign;
mod builtin;
mod cancel_hints;
mod claim;
mod commands;
mod config;
mod dispatch;
mod encode;
mod founding;
mod ids;
mod metrics;
mod principal;
mod reaper;
mod serve;
mod sessions;
mod sweeper;

pub use config::{BuiltinWorker, Config, Role};
pub use serve::{serve, services};
