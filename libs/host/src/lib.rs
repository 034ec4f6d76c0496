//! What every process of the mesh needs and no business noun: configuration, telemetry, lifecycle, the gRPC server with its
//! layers, the upstream picker, health, reflection, signed claims and the admin port.
//!
//! It depends on none of the workspace's crates and never learns what a run, a thread or an approval is: whatever is specific
//! arrives as a value or as a plain function.

pub mod admin;
pub mod config;
pub mod deadline;
pub mod exit;
pub mod health;
pub mod identity;
pub mod lifecycle;
pub mod metrics;
pub mod outage;
pub mod propagate;
pub mod random;
pub mod reflection;
pub mod server;
pub mod signed;
pub mod start;
pub mod status;
pub mod telemetry;
pub mod upstream;

pub use deadline::Deadline;
pub use lifecycle::Lifecycle;
pub use propagate::RequestId;
pub use server::{Server, ServerConfig};
pub use upstream::{Upstream, UpstreamConfig};
