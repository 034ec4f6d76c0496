//! The names of every metric this crate reports, in OpenTelemetry form; the admin port shows them with underscores and units.
//! Labels never hold ids: only methods, codes, names of loops and of pools.

/// Histogram, seconds: a call from its first byte to its trailers. Labels `rpc.method`, `rpc.response.status_code`.
pub const SERVER_CALL_DURATION: &str = "rpc.server.call.duration";

/// Up-down counter: calls in progress, streams included.
pub const SERVER_CALLS_IN_FLIGHT: &str = "rpc.server.calls_in_flight";

/// Counter: calls refused because the process is at its limit.
pub const SERVER_CALLS_SHED: &str = "rpc.server.calls_shed";

/// Counter: streams that were reset because their readers took nothing. Label `cause`: `stalled` for the write-stall limit,
/// `expired` and `draining` when the stream should have ended.
pub const SERVER_STREAMS_RESET: &str = "rpc.server.streams_reset";

/// Up-down counter: accepted connections that are open.
pub const SERVER_CONNECTIONS: &str = "rpc.server.connections";

/// Counter: times a backend was taken out of rotation. Label `pool`.
pub const UPSTREAM_EJECTIONS: &str = "rpc.upstream.ejections";

/// Counter: calls that were tried on a second backend. Label `pool`.
pub const UPSTREAM_RETRIES: &str = "rpc.upstream.retries";

/// Histogram, seconds: how long one tick of a background loop took. Label `loop`.
pub const LOOP_TICK_DURATION: &str = "host.loop.tick.duration";

/// Counter: ticks of a background loop that ended with an error. Label `loop`.
pub const LOOP_TICK_ERRORS: &str = "host.loop.tick.errors";

/// Gauge that is always 1: version and name of the service. Labels `service`, `version`.
pub const BUILD_INFO: &str = "build_info";
