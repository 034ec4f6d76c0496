//! `run200`: send a message through one gateway, and receive the 200 deltas of its run through the other, to the end.

use super::latency::Latencies;
use super::meter::Counted;
use super::people::Person;
use super::plan::CONCURRENCY;
use super::report::Row;
use super::usage::Cpu;
use super::{Ground, failed};
use crate::failure::Failure;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Deltas of one run.
const DELTAS: usize = 200;
/// How many threads everybody has at each concurrency, so that no thread's history grows long: a thread is used again only
/// when all others were.
const THREADS: [usize; 3] = [300, 60, 16];
/// The concurrency at which all transactions are counted, which takes a long wait.
const COUNTED: usize = 16;

/// What one measurement found.
struct Measured {
    runs: f64,
    elapsed: f64,
    first_event: Latencies,
    first_text: Latencies,
    total: Latencies,
}

/// Somebody at work.
struct Worker {
    person: Person,
    threads: Vec<String>,
    used: usize,
}

/// Measures each concurrency.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    for (concurrency, threads) in CONCURRENCY.into_iter().zip(THREADS) {
        let mut workers = workers(ground, concurrency, threads).await?;
        run(&mut workers, ground.plan.measure / 4).await?;
        let wait = ground.plan.statistics.filter(|_| concurrency == COUNTED);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        let (before, cpu_before) = (ground.meter.read().await?, ground.fleet.cpu(ground.engines).await);
        let measured = run(&mut workers, ground.plan.measure).await?;
        let (mut counted, cpu) = (ground.meter.read().await?.since(before), ground.fleet.cpu(ground.engines).await);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
            counted.transactions = ground.meter.read().await?.since(before).transactions;
        }
        report(ground, concurrency, &measured, &counted, wait.is_some());
        report_cpu(ground, concurrency, measured.runs, &cpu_before, &cpu);
        ground.fleet.check()?;
    }
    Ok(())
}

fn report(ground: &Ground<'_>, concurrency: usize, measured: &Measured, counted: &Counted, is_whole: bool) {
    let rate = measured.runs / measured.elapsed;
    let row = Row::new(format!("run200 x{concurrency}"))
        .with("runs/s", rate, "")
        .with_ratio("of L", rate, ground.limits.run200(concurrency))
        .with_latency("first event", &measured.first_event)
        .with_latency("first text", &measured.first_text)
        .with_latency("total", &measured.total);
    ground.report.row(&row);
    let row = Row::new(format!("run200 x{concurrency} per run"))
        .with("commits", counted.written / measured.runs, "")
        .with("log messages", counted.log / measured.runs, "")
        .with("feed messages", counted.feed / measured.runs, "");
    let row = if is_whole { row.with("transactions", counted.transactions / measured.runs, "") } else { row };
    ground.report.row(&row);
}

/// Milliseconds of CPU that a run costs, by part.
fn report_cpu(ground: &Ground<'_>, concurrency: usize, runs: f64, before: &Cpu, after: &Cpu) {
    let mut row = Row::new(format!("run200 x{concurrency} CPU"));
    for (part, seconds) in after {
        let used = seconds - before.get(part).copied().unwrap_or_default();
        row = row.with(*part, used * 1_000.0 / runs, "ms");
    }
    ground.report.row(&row);
}

async fn workers(ground: &Ground<'_>, concurrency: usize, threads: usize) -> Result<Vec<Worker>, Failure> {
    let mut tasks = JoinSet::new();
    for person in ground.people.all.iter().take(concurrency).cloned() {
        let mut person = person;
        tasks.spawn(async move {
            let threads = person.make_threads(threads).await?;
            Ok::<_, Failure>(Worker { person, threads, used: 0 })
        });
    }
    let mut workers = Vec::with_capacity(concurrency);
    while let Some(worker) = tasks.join_next().await {
        workers.push(worker.map_err(|error| failed("threads", error))??);
    }
    Ok(workers)
}

/// Everybody runs one after the other for `duration`, and finishes the last.
async fn run(workers: &mut Vec<Worker>, duration: Duration) -> Result<Measured, Failure> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut worker in workers.drain(..) {
        tasks.spawn(async move {
            let mut measured = Measured::new();
            while began.elapsed() < duration {
                worker.one(&mut measured).await?;
            }
            Ok::<_, Failure>((worker, measured))
        });
    }
    let mut all = Measured::new();
    while let Some(done) = tasks.join_next().await {
        let (worker, measured) = done.map_err(|error| failed("run200", error))??;
        workers.push(worker);
        all.merge(&measured);
    }
    all.elapsed = began.elapsed().as_secs_f64();
    Ok(all)
}

impl Worker {
    async fn one(&mut self, measured: &mut Measured) -> Result<(), Failure> {
        let thread = &self.threads[self.used % self.threads.len()];
        self.used += 1;
        let sending = Instant::now();
        let sent = self.person.send(thread, "many:200").await?;
        let seen = self.person.watch(&sent).await?.finish(|_| {}).await?;
        measured.total.add(sending.elapsed());
        for (latencies, at) in [(&mut measured.first_event, seen.first_event), (&mut measured.first_text, seen.first_text)] {
            latencies.add(at.ok_or_else(|| failed("run200", "no text"))?.duration_since(sending));
        }
        measured.runs += 1.0;
        seen.assert_chunks(DELTAS)
    }
}

impl Measured {
    fn new() -> Self {
        let none = Latencies::new();
        Self { runs: 0.0, elapsed: 0.0, first_event: none.clone(), first_text: none.clone(), total: none }
    }

    fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.first_event.merge(&other.first_event);
        self.first_text.merge(&other.first_text);
        self.total.merge(&other.total);
    }
}
