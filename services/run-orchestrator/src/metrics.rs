//! The names of the metrics that only the orchestrator reports. Calls, latencies and loops are the host's.

/// Gauge: runs of all orgs that were set aside and are not over, up to 10,000. An operator has to end them.
pub const RUNS_SET_ASIDE: &str = "runs.set_aside";
