//! Accepting messages and nothing else: orchestrators without workers, so that what is accepted stays where it is.

use super::latency::Latencies;
use super::people::Person;
use super::plan::PEOPLE;
use super::processes::Part;
use super::report::Row;
use super::{Ground, failed};
use crate::failure::Failure;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Threads of everybody: one queue must not fill up.
const THREADS: usize = 40;

/// Measures the most that is accepted, then the delay at half of it.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    for part in [Part::Orchestrator(0), Part::Orchestrator(1)] {
        ground.fleet.kill(part)?;
        ground.fleet.launch(part, &[("ROLE", "api")])?;
    }
    let mut senders = Vec::with_capacity(PEOPLE);
    let mut first = ground.people.all.first().cloned().ok_or_else(|| failed("people", "nobody is there"))?;
    wait_until_served(ground, &mut first).await?;
    for person in &ground.people.all {
        let mut person = person.clone();
        senders.push((person.make_threads(THREADS).await?, person));
    }
    let duration = ground.plan.measure;
    send(&senders, duration / 4, None).await?;
    let before = ground.meter.read().await?;
    let (rate, latencies) = send(&senders, duration, None).await?;
    let counted = ground.meter.read().await?.since(before);
    let row = Row::new("accept x64")
        .with("messages/s", rate, "")
        .with_ratio("of raw commit x64", rate, ground.limits.commits(PEOPLE))
        .with_latency("answer", &latencies)
        .with("commits per message", counted.written / latencies.count() as f64, "");
    ground.report.row(&row);
    let pause = Duration::from_secs_f64(2.0 * PEOPLE as f64 / rate);
    let (rate, latencies) = send(&senders, duration, Some(pause)).await?;
    ground.report.row(&Row::new("accept at half").with("messages/s", rate, "").with_latency("answer", &latencies));
    ground.fleet.check()
}

async fn wait_until_served(ground: &mut Ground<'_>, person: &mut Person) -> Result<(), Failure> {
    // Both gateways' pickers must know both replicas again.
    for _ in 0..20 {
        let person = person.clone();
        let served = || {
            let mut person = person.clone();
            async move { person.thread().await.ok().map(drop) }
        };
        ground.fleet.until("orchestrators without workers", served).await?;
    }
    Ok(())
}

/// Everybody sends one message after the other for `duration`; with `pause`, at that pace, and an answer's delay counts from
/// when its message was due.
async fn send(
    senders: &[(Vec<String>, Person)],
    duration: Duration,
    pause: Option<Duration>,
) -> Result<(f64, Latencies), Failure> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, (threads, person)) in senders.iter().cloned().enumerate() {
        // Not all at the same moment.
        let first = pause.map(|pause| began + pause.mul_f64(index as f64 / PEOPLE as f64));
        tasks.spawn(one_sender(threads, person, began + duration, first.zip(pause)));
    }
    let mut all = Latencies::new();
    while let Some(latencies) = tasks.join_next().await {
        all.merge(&latencies.map_err(|error| failed("accept", error))??);
    }
    Ok((all.count() as f64 / began.elapsed().as_secs_f64(), all))
}

async fn one_sender(
    threads: Vec<String>,
    mut person: Person,
    until: Instant,
    paced: Option<(Instant, Duration)>,
) -> Result<Latencies, Failure> {
    let (mut latencies, mut due) = (Latencies::new(), paced.map(|(first, _)| first));
    for thread in threads.iter().cycle() {
        let begin = match due {
            Some(due) => {
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None => Instant::now(),
        };
        if begin >= until {
            break;
        }
        person.send(thread, "many:1").await?;
        latencies.add(begin.elapsed());
        due = due.zip(paced).map(|(due, (_, pause))| due + pause);
    }
    Ok(latencies)
}
