//! What a bench is asked to do: its phases, how long each lasts, how many at once.

use super::Bench;
use clap::ValueEnum;
use std::time::Duration;

/// How many work at once, one measurement each.
pub(super) const CONCURRENCY: [usize; 3] = [1, 16, 64];
/// People of a mesh: as many as work at once.
pub(super) const PEOPLE: usize = 64;
/// Orgs that they belong to.
pub(super) const ORGS: usize = 4;
/// How long anything that should take milliseconds may take before the bench fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the sessions of Postgres keep their statistics to themselves.
const STATISTICS: Duration = Duration::from_secs(11);

/// One part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Phase {
    /// The limits of the engines and of gRPC.
    Raw,
    /// What a mesh without work costs.
    Idle,
    /// What viewers of threads cost that are idle.
    Viewers,
    /// 200 deltas from a model to a viewer.
    Run200,
    /// Turns of the same threads, one after the other.
    Serial,
    /// The delay of deltas that come at a pace.
    Paced,
    /// Viewers beside others that read nothing.
    Stalled,
    /// Coming late to a long run.
    Attach,
    /// The death of a worker.
    Crash,
    /// Accepting here and working there.
    Apart,
    /// Accepting messages.
    Accept,
}

/// What to do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// How long a measurement lasts.
    pub(super) measure: Duration,
    /// How long the mesh is left alone.
    pub(super) idle: Duration,
    /// How long to wait until the statistics of Postgres are whole; none to do without them.
    pub(super) statistics: Option<Duration>,
    only: Vec<Phase>,
}

impl Plan {
    /// The plan that the command line asks for.
    pub(super) fn new(bench: &Bench) -> Self {
        let (seconds, idle) = if bench.quick { (1, bench.idle_seconds.min(2)) } else { (bench.seconds, bench.idle_seconds) };
        Self {
            measure: Duration::from_secs(seconds),
            idle: Duration::from_secs(idle),
            statistics: (!bench.quick).then_some(STATISTICS),
            only: bench.only.clone(),
        }
    }

    /// Whether a phase is wanted.
    pub(super) fn wants(&self, phase: Phase) -> bool {
        self.only.is_empty() || self.only.contains(&phase)
    }

    /// Whether any phase but the raw limits is wanted.
    pub(super) fn wants_mesh(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|phase| *phase != Phase::Raw)
    }
}
