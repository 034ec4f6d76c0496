//! Coming late to a run of 10,000 events: to its snapshot, and to its log from the start.

use super::latency::Latencies;
use super::people::Person;
use super::report::Row;
use super::{Ground, failed};
use crate::failure::Failure;
use runmesh_bus::RunKey;
use runmesh_domain::id::OrgId;
use runmesh_wire::pb::stream::attach_run_request::From;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::pb::stream::{FromSnapshot, FromStart};
use std::time::Instant;

/// Deltas of the run.
const DELTAS: usize = 10_000;
/// Tries of each kind.
const TRIES: usize = 15;

/// Measures both, and the replay of the same log straight from JetStream.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let Some(mut person) = ground.people.all.first().cloned() else { return Ok(()) };
    let thread = person.thread().await?;
    let sent = person.send(&thread, &format!("many:{DELTAS}")).await?;
    let seen = person.watch(&sent).await?.finish(|_| {}).await?;
    seen.assert_chunks(DELTAS)?;
    let parse = |what: &'static str| failed(what, "not an id");
    let key = RunKey {
        org: OrgId::of_name(&person.org),
        thread: thread.parse().map_err(|_| parse("thread"))?,
        run: sent.run.parse().map_err(|_| parse("run"))?,
    };
    let (mut snapshots, mut starts, mut raws, mut messages) = (Latencies::new(), Latencies::new(), Latencies::new(), 0_u32);
    for _ in 0..TRIES {
        snapshots.add(snapshot(&mut person, &sent.run).await?);
        let began = Instant::now();
        let seen = person.attach(&sent.run, From::Start(FromStart {})).await?.finish(|_| {}).await?;
        starts.add(began.elapsed());
        seen.assert_chunks(DELTAS)?;
        let began = Instant::now();
        messages = replay(ground, key).await?;
        raws.add(began.elapsed());
    }
    let row = Row::new("late attach 10,000")
        .with_latency("snapshot", &snapshots)
        .with_latency("start", &starts)
        .with("direct get p50", raws.p50(), "ms")
        .with("start / direct get", starts.p50() / raws.p50(), "")
        .with("events", seen.events as f64, "")
        .with("log messages", f64::from(messages), "");
    ground.report.row(&row);
    ground.fleet.check()
}

/// The time to a whole snapshot.
async fn snapshot(person: &mut Person, run: &str) -> Result<std::time::Duration, Failure> {
    let began = Instant::now();
    let mut watch = person.attach(run, From::Snapshot(FromSnapshot {})).await?;
    while let Some(frame) = watch.frame().await? {
        if let Frame::Snapshot(snapshot) = frame
            && snapshot.complete
        {
            return Ok(began.elapsed());
        }
    }
    Err(failed("attach", "no whole snapshot"))
}

/// Reads the whole log; how many messages it has.
async fn replay(ground: &Ground<'_>, key: RunKey) -> Result<u32, Failure> {
    let broken = |error| failed("replay", error);
    let log = ground.meter.bus.log();
    let tail = log.tail(key).await.map_err(broken)?;
    let mut replay = log.replay(key, 0, tail.stream_seq);
    let mut messages = 0;
    while replay.next().await.map_err(broken)?.is_some() {
        messages += 1;
    }
    Ok(messages)
}
