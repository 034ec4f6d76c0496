//! The gateway between real callers and real servers, on sockets.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod admission;
mod bodies;
mod forwarding;
mod health;
mod identity;
mod methods;
mod outage;
mod people;
mod strangers;
mod streams;
mod support;
mod web;
