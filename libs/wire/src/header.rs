//! Names of the metadata that hops of the mesh use.

/// The signed principal of the caller, minted by the gateway. Stripped from every call that comes from outside.
pub const PRINCIPAL: &str = "x-runmesh-principal";
/// The org that a person of several orgs means.
pub const ORG: &str = "x-runmesh-org";
/// The W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Audience of every token that the mesh signs.
pub const AUDIENCE: &str = "runmesh";
/// Type of the signed principal of a hop.
pub const HOP_TYPE: &str = "hop+jwt";
/// Type of a worker's credential.
pub const WORKER_TYPE: &str = "worker+jwt";
/// Type of a run token.
pub const RUN_TYPE: &str = "run+jwt";
