//! The names of the metrics that only the gateway reports. Calls, latencies and upstreams are the host's.

/// Counter: calls that were refused at the edge. Label `reason`.
pub const REFUSED: &str = "gateway.calls.refused";
