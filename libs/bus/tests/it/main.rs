//! The bus on a real NATS server.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod catch_up;
mod elections;
mod feed;
mod log;
mod replay;
mod restart;
mod streams;
mod support;
mod wake;
