//! The worker: holds a session, takes runs against credits, and drives each in a task of its own.
//!
//! One loop owns every run and the Claim stream; heartbeats live on their own thread. A run never outlives what its
//! lease allows by the worker's own clock, but nothing depends on that: the fence does.

mod claims;
mod clock;
mod heartbeat;
mod held;
mod reply;
mod shift;
mod worker;

pub use held::Hints;
pub use worker::{Worker, WorkerConfig, WorkerError};
