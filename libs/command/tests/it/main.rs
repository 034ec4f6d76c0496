//! Commands against a real Postgres and a real NATS.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod checks;
mod publishing;
mod repeats;
mod world;
