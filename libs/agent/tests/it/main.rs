//! The agent against real servers: a mock model, odd model streams, real tools over HTTP, and a mesh of two services that
//! remembers everything it was told.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod fake;
mod harness;
mod log;
mod model;
mod resume;
mod runs;
mod session;
mod tools;
mod words;
