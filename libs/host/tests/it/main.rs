//! The host against real sockets: server layers, drain, upstream picking, tokens, configuration.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod config;
mod deadlines;
mod forwarding;
mod identity;
mod lifecycle;
mod principal;
mod server;
mod shutdown;
mod signed;
mod silent;
mod stalls;
mod strangers;
mod support;
mod upstream;
mod web;
