//! SIGKILL of the orchestrator whose worker drives a run, and the time until a viewer hears of it again.

use super::latency::Latencies;
use super::people::{Person, Sent};
use super::processes::Part;
use super::report::Row;
use super::stream::Watch;
use super::{Ground, failed};
use crate::failure::Failure;
use runmesh_client::Client;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::pb::stream::run_event::Kind;
use std::time::Instant;

/// Kills.
const TRIES: usize = 5;
/// Long enough to be killed in the middle of: its text is not awaited to the end.
const MESSAGE: &str = "slow:50x100";

/// Kills, waits for the next attempt's events, and starts the replica again, a few times.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (mut attempts, mut texts) = (Latencies::new(), Latencies::new());
    for number in 0..TRIES {
        both_work(ground).await?;
        let Some(mut person) = ground.people.all.get(number * super::plan::ORGS).cloned() else { return Ok(()) };
        let (owner, mut watch) = begin(ground, &mut person).await?;
        let killed = Instant::now();
        ground.fleet.kill(owner)?;
        let fence = next_attempt(&mut watch).await?;
        attempts.add(killed.elapsed());
        while !events(&mut watch).await?.iter().any(|kind| matches!(kind, Kind::TextDelta(_))) {}
        texts.add(killed.elapsed());
        if fence < 2 {
            return Err(failed("crash", format!("attempt {fence} after a kill")));
        }
        ground.fleet.launch(owner, &[])?;
    }
    both_work(ground).await?;
    let row = Row::new("SIGKILL of a worker")
        .with("next event p50", attempts.p50(), "ms")
        .with("next event max", attempts.max(), "ms")
        .with("next text p50", texts.p50(), "ms")
        .with("next text max", texts.max(), "ms")
        .with("kills", TRIES as f64, "");
    ground.report.row(&row);
    ground.fleet.check()
}

/// A run whose text flows: who drives it, and a viewer.
async fn begin(ground: &mut Ground<'_>, person: &mut Person) -> Result<(Part, Watch), Failure> {
    let thread = person.thread().await?;
    let sent = person.send(&thread, MESSAGE).await?;
    let mut watch = person.watch(&sent).await?;
    while !events(&mut watch).await?.iter().any(|kind| matches!(kind, Kind::TextDelta(_))) {}
    let owner = owner(ground, &sent).await?;
    Ok((owner, watch))
}

async fn owner(ground: &mut Ground<'_>, sent: &Sent) -> Result<Part, Failure> {
    let client = admin(ground)?;
    let run = sent.run.parse().map_err(|_| failed("run", "not an id"))?;
    let find = || async {
        let session = client.get_run(run).await.ok()?.session_id;
        let workers = client.list_workers(1_000).await.ok()?;
        let worker = workers.into_iter().find(|worker| worker.session_id == session)?;
        worker.worker.strip_prefix("worker-")?.parse().ok().map(Part::Orchestrator)
    };
    ground.fleet.until("the worker of the run", find).await
}

/// Waits until both replicas have a live worker and answer.
pub(super) async fn both_work(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let client = admin(ground)?;
    let ready = || async {
        let workers = client.list_workers(1_000).await.ok()?;
        let is_live = |name: &str| workers.iter().any(|worker| worker.worker == name && worker.state() == super::LIVE);
        (is_live("worker-0") && is_live("worker-1")).then_some(())
    };
    ground.fleet.until("both orchestrators", ready).await
}

fn admin(ground: &Ground<'_>) -> Result<Client, Failure> {
    ground.people.admins.first().cloned().ok_or_else(|| failed("people", "nobody is an admin"))
}

/// The kinds of the next events.
async fn events(watch: &mut Watch) -> Result<Vec<Kind>, Failure> {
    while let Some(frame) = watch.frame().await? {
        if let Frame::Events(events) = frame {
            return Ok(events.events.into_iter().filter_map(|event| event.kind).collect());
        }
    }
    Err(failed("crash", "the stream ended"))
}

/// Waits for an attempt to begin; its number.
async fn next_attempt(watch: &mut Watch) -> Result<i64, Failure> {
    loop {
        for kind in events(watch).await? {
            if let Kind::AttemptStarted(started) = kind {
                return Ok(started.fence);
            }
        }
    }
}
