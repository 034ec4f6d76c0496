//! What a mesh without work costs: transactions of all services together, statements of one orchestrator, memory of each
//! process. Statements are counted where they cannot hide: a third orchestrator reaches Postgres through a counter.

use super::Ground;
use super::processes::Part;
use super::report::Row;
use super::statements::Counter;
use crate::failure::Failure;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a new replica may busy itself with its start.
const SETTLED: Duration = Duration::from_secs(3);

/// Leaves the mesh alone and reads what it did.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let counter = Counter::start(&ground.fleet.postgres_url).await?;
    ground.fleet.launch(Part::Orchestrator(2), &[("POSTGRES_URL", counter.url())])?;
    ground.fleet.until("the third orchestrator", || std::future::ready((counter.count() > 0).then_some(()))).await?;
    tokio::time::sleep(SETTLED).await;
    let (before, statements, began) = (ground.meter.read().await?, counter.count(), Instant::now());
    tokio::time::sleep(ground.plan.idle).await;
    let (counted, statements) = (ground.meter.read().await?.since(before), counter.count() - statements);
    let seconds = began.elapsed().as_secs_f64();
    let row = Row::new("idle")
        .with("statements/s", statements as f64 / seconds, "an orchestrator")
        .with("transactions/s", counted.transactions / seconds, "all services")
        .with("commits/s", counted.written / seconds, "all services")
        .with("for", seconds, "s");
    ground.report.row(&row);
    memory(ground, "idle memory");
    ground.fleet.kill(Part::Orchestrator(2))?;
    counter.stop().await;
    ground.fleet.check()
}

/// A row with the resident memory of the largest process of each kind.
pub(super) fn memory(ground: &Ground<'_>, name: &str) {
    let mut largest: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (part, megabytes) in ground.fleet.memory() {
        let most = largest.entry(part.kind()).or_default();
        *most = most.max(megabytes);
    }
    let row = largest.into_iter().fold(Row::new(name), |row, (kind, megabytes)| row.with(kind, megabytes, "MB"));
    ground.report.row(&row);
}
