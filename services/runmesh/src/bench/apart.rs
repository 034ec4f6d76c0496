//! A worker that is woken over NATS: one orchestrator only accepts, the other only works, and neither polls for a minute.

use super::latency::Latencies;
use super::people::Person;
use super::processes::Part;
use super::report::Row;
use super::{Ground, failed};
use crate::failure::Failure;
use std::time::Instant;

/// Runs, one after the other.
const RUNS: usize = 100;
/// Runs before those, for connections and plans.
const WARM_UP: usize = 10;
/// Longer than the phase lasts: what starts was woken.
const POLL: (&str, &str) = ("LEASES__POLL_MS", "60000");

/// Measures from the send until the first event at the other gateway.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    for (part, role) in [(Part::Orchestrator(0), "api"), (Part::Orchestrator(1), "worker")] {
        ground.fleet.kill(part)?;
        ground.fleet.launch(part, &[("ROLE", role), POLL])?;
    }
    worker_lives(ground).await?;
    let mut person = ground.people.all.first().cloned().ok_or_else(|| failed("people", "nobody is there"))?;
    let threads = person.make_threads(WARM_UP + RUNS).await?;
    let mut first = Latencies::new();
    for (number, thread) in threads.iter().enumerate() {
        let took = one(&mut person, thread).await?;
        if number >= WARM_UP {
            first.add(took);
        }
    }
    let row = Row::new("worker elsewhere").with_latency("first event", &first).with("runs", RUNS as f64, "");
    ground.report.row(&row.with("poll", 60.0, "s"));
    ground.fleet.check()
}

async fn one(person: &mut Person, thread: &str) -> Result<std::time::Duration, Failure> {
    let sending = Instant::now();
    let sent = person.send(thread, "many:1").await?;
    let seen = person.watch(&sent).await?.finish(|_| {}).await?;
    let at = seen.first_event.ok_or_else(|| failed("worker elsewhere", "no event"))?;
    seen.assert_chunks(1)?;
    Ok(at.duration_since(sending))
}

/// The one worker is there, the others of before are known to be gone, and both gateways know who serves.
async fn worker_lives(ground: &mut Ground<'_>) -> Result<(), Failure> {
    for client in ground.people.admins.clone() {
        let lives = || async {
            let workers = client.list_workers(1_000).await.ok()?;
            let mut live = workers.iter().filter(|worker| worker.state() == super::LIVE);
            (live.next()?.worker == "worker-1" && live.next().is_none()).then_some(())
        };
        ground.fleet.until("an orchestrator and a worker apart", lives).await?;
    }
    Ok(())
}
