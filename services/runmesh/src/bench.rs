//! `runmesh bench`: the workload of the project against real processes of this very binary, beside the raw limits of the
//! engines in the same run. Starts everything itself and leaves nothing behind. `docs/benchmarks.md` says what each row means.
//!
//! *Invariant:* a run that did not deliver exactly what it should fails the bench; a fast wrong answer is no result.

mod accept;
mod apart;
mod attach;
mod crash;
mod idle;
mod latency;
mod meter;
mod model;
mod paced;
mod people;
mod plan;
mod processes;
mod raw;
mod raw_bus;
mod raw_grpc;
mod report;
mod run200;
mod serial;
mod stalled;
mod statements;
mod stream;
mod usage;
mod viewers;

use crate::cli::Done;
use crate::failure::Failure;
use clap::Args;
use meter::Meter;
use people::People;
use plan::{Phase, Plan};
use processes::Fleet;
use raw::Limits;
use report::Report;
use runmesh_bus::{Bus, BusConfig};
use runmesh_engines::{DataDir, EngineOptions, Engines, Silent};
use std::fmt::Display;

/// Options of `runmesh bench`.
#[derive(Debug, Clone, Args)]
pub struct Bench {
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// One second each, and no waits for late statistics: to see that everything works.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// Only these phases.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Phase>,
    /// How long the mesh is left alone before its memory is read.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_seconds: u64,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
}

/// What every phase works on.
struct Ground<'a> {
    plan: Plan,
    report: Report,
    engines: &'a Engines,
    limits: Limits,
    fleet: Fleet,
    people: People,
    meter: Meter,
}

impl Bench {
    /// Runs the phases that were asked for, each with a row as it ends.
    ///
    /// # Errors
    /// [`Failure`] when an engine or a service does not start, when a call fails, and when a run delivers anything but what
    /// it should.
    pub async fn run(self) -> Result<Done, Failure> {
        let plan = Plan::new(&self);
        let report = Report::new(self.json);
        report.head(&plan);
        let engines = Engines::start(EngineOptions::new(DataDir::Ephemeral), &Silent).await;
        let engines = engines.map_err(|error| Failure::unavailable(error.to_string()).with_hint(error.hint()))?;
        let ended = phases(plan, report, &engines).await;
        let stopped = engines.stop().await.map_err(|error| Failure::unavailable(error.to_string()));
        ended.and(stopped).map(|()| Done::Well)
    }
}

/// How a worker that can take runs is shown.
const LIVE: runmesh_wire::pb::worker::worker::State = runmesh_wire::pb::worker::worker::State::Live;

async fn phases(plan: Plan, report: Report, engines: &Engines) -> Result<(), Failure> {
    let bus = Bus::connect(BusConfig::new(engines.nats_url(), "runmesh-bench")).await.map_err(|error| failed("nats", error))?;
    bus.ensure().await.map_err(|error| failed("streams", error))?;
    let meter = Meter { bus, postgres_url: engines.postgres_url().to_owned() };
    let limits = if plan.wants(Phase::Raw) { raw::measure(&plan, &report, &meter).await? } else { Limits::default() };
    if !plan.wants_mesh() {
        return Ok(());
    }
    let mut fleet = Fleet::start(engines).await?;
    let people = People::invite(&mut fleet).await?;
    Ground { plan, report, engines, limits, fleet, people, meter }.mesh_phases().await
}

impl Ground<'_> {
    /// The phases that need a mesh. Idleness comes first, as long as nothing has happened; whatever leaves work behind or
    /// kills processes comes last.
    async fn mesh_phases(&mut self) -> Result<(), Failure> {
        if self.plan.wants(Phase::Idle) {
            idle::measure(self).await?;
        }
        if self.plan.wants(Phase::Viewers) {
            viewers::measure(self).await?;
        }
        if self.plan.wants(Phase::Run200) {
            run200::measure(self).await?;
        }
        if self.plan.wants(Phase::Serial) {
            serial::measure(self).await?;
        }
        if self.plan.wants(Phase::Paced) {
            paced::measure(self).await?;
        }
        if self.plan.wants(Phase::Stalled) {
            stalled::measure(self).await?;
        }
        if self.plan.wants(Phase::Attach) {
            attach::measure(self).await?;
        }
        idle::memory(self, "memory after load");
        if self.plan.wants(Phase::Crash) {
            crash::measure(self).await?;
        }
        if self.plan.wants(Phase::Apart) {
            apart::measure(self).await?;
        }
        if self.plan.wants(Phase::Accept) {
            accept::measure(self).await?;
        }
        Ok(())
    }
}

/// A failed step of the bench.
fn failed(what: &str, problem: impl Display) -> Failure {
    Failure::fault(format!("{what}: {problem}"))
}
