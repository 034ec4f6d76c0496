//! The gateway: the one address of the mesh. It establishes who calls, bounds what they send and how often, sets deadlines, and
//! forwards bytes to the service behind.
//!
//! *Invariant:* it never decodes a message, so a new rpc needs a row in [`methods`] and nothing else here. It holds no state
//! that another replica would miss.
//!
//! *Invariant:* nothing that a caller sends can pass for an identity inside: such headers are taken off every call, and the
//! caller's own token goes no further than here.

mod admission;
pub mod config;
mod edge;
mod forward;
mod headers;
mod identity;
pub mod methods;
pub mod metrics;
mod readiness;
mod serve;
mod upstreams;

pub use config::GatewayConfig;
pub use readiness::services;
pub use serve::{ServeError, serve};
