//! How long calls may take when their caller does not say.

use std::time::Duration;

/// Of calls that answer at once.
pub const SHORT: Duration = Duration::from_secs(30);

/// Methods that follow something: they end when it does, or when the caller says.
const FOLLOWING: [&str; 4] = [
    "/runmesh.worker.v1.WorkerService/Claim",
    "/runmesh.stream.v1.StreamService/AttachRun",
    "/runmesh.stream.v1.StreamService/AttachThread",
    "/runmesh.stream.v1.StreamService/Append",
];

/// The longest that a call of this path may take; absent for what follows something. What nobody knows may not take long.
#[must_use]
pub fn of(path: &str) -> Option<Duration> {
    (!FOLLOWING.contains(&path)).then_some(SHORT)
}
