//! The limits that the mesh is compared with: what each engine does by itself on this machine, now.

use super::meter::Meter;
use super::plan::{CONCURRENCY, Plan};
use super::report::{Report, Row};
use super::{failed, raw_bus, raw_grpc};
use crate::failure::Failure;
use runmesh_store::probe;
use std::collections::BTreeMap;

/// Raw rates a second, by concurrency. Empty when they were not measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    commits: BTreeMap<usize, f64>,
    grpc: BTreeMap<usize, f64>,
    /// Median from a publish to the republished message, in milliseconds.
    pub(super) republish_p50: Option<f64>,
}

impl Limits {
    /// Commits a second.
    pub(super) fn commits(&self, concurrency: usize) -> Option<f64> {
        self.commits.get(&concurrency).copied()
    }

    /// The most `run200` can reach: one unary call and one stream, and the two commits that no design saves.
    pub(super) fn run200(&self, concurrency: usize) -> Option<f64> {
        let (grpc, commits) = (self.grpc.get(&concurrency)?, self.commits.get(&concurrency)?);
        Some(1.0 / (1.0 / grpc + 2.0 / commits))
    }
}

/// Measures each, one after the other.
pub(super) async fn measure(plan: &Plan, report: &Report, meter: &Meter) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    for clients in CONCURRENCY {
        let rate = probe::insert_commit(&meter.postgres_url, clients, plan.measure).await;
        let rate = rate.map_err(|error| failed("insert and commit", error))?;
        limits.commits.insert(clients, rate);
        report.row(&Row::new(format!("raw commit x{clients}")).with("commits/s", rate, ""));
    }
    for clients in CONCURRENCY {
        let rate = raw_grpc::runs_per_second(clients, plan.measure).await?;
        limits.grpc.insert(clients, rate);
        let row = Row::new(format!("raw gRPC x{clients}")).with("runs/s", rate, "");
        let bound = limits.run200(clients).unwrap_or(f64::NAN);
        report.row(&row.with("bound L of run200", bound, "runs/s"));
    }
    for publishers in CONCURRENCY {
        let (rate, latencies) = raw_bus::publish(&meter.bus, publishers, plan.measure).await?;
        let row = Row::new(format!("raw publish x{publishers}")).with("acked/s", rate, "");
        report.row(&row.with_latency("ack", &latencies));
    }
    let republished = raw_bus::republish(&meter.bus, plan.measure).await?;
    limits.republish_p50 = Some(republished.p50());
    report.row(&Row::new("raw republish").with_latency("publish to live", &republished));
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn the_bound_counts_two_commits_and_one_run_of_grpc() {
        let mut limits = Limits::default();
        assert!(limits.run200(1).is_none());
        limits.commits.insert(1, 2_000.0);
        limits.grpc.insert(1, 1_000.0);
        assert!(limits.run200(1).is_some_and(|bound| (bound - 500.0).abs() < 0.01));
    }
}
