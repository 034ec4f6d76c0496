//! stream-relay: the run log for those who write it and those who follow it.
//!
//! *Invariant S1:* a client that follows cursors sees every event once and in order, or an explicit Reset with a snapshot.
//! *Invariant S2:* nothing is shown as an event that is not in the log. The relay reads Postgres and never writes to it; it
//! holds nothing that another relay does not have too.

mod api;
mod append;
mod attach;
mod caller;
mod config;
mod fold;
mod frames;
mod hub;
mod limits;
mod pace;
mod probe;
mod queue;
mod relay;
mod seats;
mod serve;
mod shown;
mod thread;
mod thread_hub;
mod truth;
mod viewer;

pub use config::Config;
pub use serve::{serve, services};
