//! JetStream by itself: batches of one delta onto scratch logs, through the same calls that the relay makes.

use super::failed;
use super::latency::Latencies;
use super::plan::PATIENCE;
use crate::failure::Failure;
use runmesh_bus::{Batch, Bus, PublishOutcome, RunKey};
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::log::Tail;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A delta of the workload.
const DELTA: [u8; 24] = *b"t1234567890123 chunk-000";

/// A log that nobody else knows.
struct Scratch {
    key: RunKey,
    tail: Tail,
}

impl Scratch {
    fn new() -> Self {
        let (thread, run) = (ThreadId::from_uuid(uuid::Uuid::now_v7()), RunId::from_uuid(uuid::Uuid::now_v7()));
        Self { key: RunKey { org: OrgId::of_name("bench-scratch"), thread, run }, tail: Tail::default() }
    }

    async fn append(&mut self, bus: &Bus) -> Result<(), Failure> {
        let batch = Batch::after(self.key.run, self.tail, vec![DELTA.to_vec().into()]);
        let published = bus.log().publish(self.key, &batch, self.tail.stream_seq).await;
        match published.map_err(|error| failed("publish", error))? {
            PublishOutcome::Stored { stream_seq } => {
                self.tail = Tail { stream_seq, ..batch.tail };
                Ok(())
            }
            PublishOutcome::Conflict | PublishOutcome::Unknown => Err(failed("publish", "no ack")),
        }
    }
}

/// Publishes one message after the other by each of `publishers`: acks a second, and how long each took.
pub(super) async fn publish(bus: &Bus, publishers: usize, duration: Duration) -> Result<(f64, Latencies), Failure> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..publishers {
        let bus = bus.clone();
        tasks.spawn(async move {
            let (mut scratch, mut latencies) = (Scratch::new(), Latencies::new());
            while began.elapsed() < duration {
                let sent = Instant::now();
                scratch.append(&bus).await?;
                latencies.add(sent.elapsed());
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut all = Latencies::new();
    while let Some(latencies) = tasks.join_next().await {
        all.merge(&latencies.map_err(|error| failed("publish", error))??);
    }
    Ok((all.count() as f64 / began.elapsed().as_secs_f64(), all))
}

/// From the begin of a publish to its message at a subscriber, one at a time.
pub(super) async fn republish(bus: &Bus, duration: Duration) -> Result<Latencies, Failure> {
    let (mut scratch, mut latencies) = (Scratch::new(), Latencies::new());
    let (mut live, _) = bus.log().follow(scratch.key).await.map_err(|error| failed("follow", error))?;
    let began = Instant::now();
    while began.elapsed() < duration {
        let sent = Instant::now();
        let came = async {
            let batch = tokio::time::timeout(PATIENCE, live.next()).await.map_err(|_| failed("follow", "nothing came"))?;
            batch.ok_or_else(|| failed("follow", "ended"))?.map_err(|error| failed("follow", error))?;
            Ok::<_, Failure>(sent.elapsed())
        };
        let (published, came) = tokio::join!(scratch.append(bus), came);
        published?;
        latencies.add(came?);
    }
    Ok(latencies)
}
