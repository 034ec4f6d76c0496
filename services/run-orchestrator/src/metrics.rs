//! The names of the metrics that only the orchestrator reports. Calls, latencies and loops are the host's.

/// Gauge: runs of all orgs that were set aside and are not over, up to 10,000. An operator has to end them.
pub const RUNS_SET_ASIDE: &str = "runs.set_aside";

/// Gauge: row versions of the table of runs that vacuum has not removed, as Postgres estimates. While a transaction or a dump stays open
/// for long, they pile up and claims get slower.
pub const RUNS_DEAD_ROWS: &str = "runs.dead_rows";
