//! The mock model over real sockets: every hint, as a client sees it on the wire.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod client;
mod connection;
mod faults;
mod load;
mod shapes;
mod target;
mod text;
mod tool_calls;
