//! The client against a scripted gRPC server over real sockets.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod cutting;
mod following;
mod frames;
mod script;
mod unary;
