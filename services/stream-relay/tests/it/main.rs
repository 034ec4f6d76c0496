//! Relays on real sockets, over a real Postgres and a real NATS server.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod append;
mod attach;
mod away;
mod begin;
mod branches;
mod client;
mod drains;
mod expiry;
mod idle;
mod pools;
mod postgres;
mod proxy;
mod resume;
mod snapshots;
mod storm;
mod thread;
mod world;
