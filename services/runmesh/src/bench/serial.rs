//! Turns of the same thread, one after the other, on 200 threads: what the mesh's own bookkeeping costs when the model
//! says one word. All turns are sent first and wait in their threads' queues.

use super::report::Row;
use super::{Ground, failed};
use crate::failure::Failure;
use std::time::Instant;
use tokio::task::JoinSet;

/// Threads, shared out among the people.
const THREADS: usize = 200;
/// Turns of each thread for each second of a measurement.
const TURNS_PER_SECOND: u64 = 4;

/// Measures from the first send to the end of the last turn.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let turns = ground.plan.measure.as_secs() * TURNS_PER_SECOND;
    let mut threads = Vec::with_capacity(THREADS);
    for person in ground.people.all.iter().cycle().take(THREADS) {
        let mut person = person.clone();
        let thread = person.thread().await?;
        threads.push((person, thread));
    }
    let before = ground.meter.read().await?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut person, thread) in threads {
        tasks.spawn(async move {
            let mut last = person.send(&thread, "many:1").await?;
            for _ in 1..turns {
                last = person.send(&thread, "many:1").await?;
            }
            let sent = began.elapsed();
            person.watch(&last).await?.finish(|_| {}).await?.assert_chunks(1)?;
            Ok::<_, Failure>(sent)
        });
    }
    let mut sent = std::time::Duration::ZERO;
    while let Some(done) = tasks.join_next().await {
        sent = sent.max(done.map_err(|error| failed("serial", error))??);
    }
    let (elapsed, counted) = (began.elapsed().as_secs_f64(), ground.meter.read().await?.since(before));
    let runs = THREADS as f64 * turns as f64;
    let row = Row::new("serial x200")
        .with("runs/s", runs / elapsed, "")
        .with("runs", runs, "")
        .with("all sent after", sent.as_secs_f64(), "s")
        .with("commits per run", counted.written / runs, "");
    ground.report.row(&row);
    ground.fleet.check()
}
