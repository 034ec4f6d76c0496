//! The delay of deltas that the model sends at a pace. Each chunk names when its call began and its own number, so it is
//! due at `call + number × gap`; its delay is how much later it arrives. The same delay, read straight from the model, is
//! measured beside it, because it includes the model's own timer and the millisecond that the stamp is rounded down to.

use super::latency::Latencies;
use super::people::Person;
use super::processes::Part;
use super::report::Row;
use super::{Ground, failed, model};
use crate::failure::Failure;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// Runs at once.
const RUNS: usize = 20;
/// Viewers of each run.
const VIEWERS: [usize; 2] = [1, 10];
/// 100 deltas a second.
const GAP: Duration = Duration::from_millis(10);

/// A stream of numbered chunks at a pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How many.
    pub(super) chunks: u64,
    gap: Duration,
}

impl Pace {
    /// 100 chunks a second for about so long, and one second at least.
    pub(super) fn of(time: Duration) -> Self {
        Self { chunks: u64::try_from(time.as_millis() / GAP.as_millis()).unwrap_or(100).max(100), gap: GAP }
    }

    /// What makes the mock model keep it.
    pub(super) fn hint(self) -> String {
        format!("slow:{}x{}", self.chunks, self.gap.as_millis())
    }

    /// Adds the delay of every chunk of `text` (`t<milliseconds> chunk-<number> …`) that came at `now`.
    pub(super) fn take(self, text: &str, now: u64, latencies: &mut Latencies) {
        let mut words = text.split_whitespace();
        while let (Some(stamp), Some(chunk)) = (words.next(), words.next()) {
            let stamp = stamp.strip_prefix('t').and_then(|stamp| stamp.parse::<u64>().ok());
            let number = chunk.strip_prefix("chunk-").and_then(|number| number.parse::<u64>().ok());
            if let (Some(stamp), Some(number)) = (stamp, number) {
                let due = stamp * 1_000 + number * u64::try_from(self.gap.as_micros()).unwrap_or(0);
                latencies.add_micros(now.saturating_sub(due));
            }
        }
    }
}

/// Unix time in microseconds: the clock of the model's stamps.
pub(super) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// Measures the model by itself, then the mesh with one viewer a run and with several.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let pace = Pace::of(ground.plan.measure);
    let direct = model::read(ground.fleet.port(Part::Model), RUNS, pace).await?;
    ground.report.row(&Row::new("model alone x20").with_latency("delta", &direct));
    for viewers in VIEWERS {
        let seen = watch(&ground.people.all[..RUNS.min(ground.people.all.len())], pace, viewers).await?;
        let beyond = seen.p50() - direct.p50();
        let row = Row::new(format!("paced x20, {viewers} each"))
            .with_latency("delta", &seen)
            .with("beyond the model p50", beyond, "ms")
            .with_ratio("of raw republish", beyond, ground.limits.republish_p50)
            .with("offered deliveries/s", (RUNS * viewers) as f64 / GAP.as_secs_f64(), "");
        ground.report.row(&row);
    }
    ground.fleet.check()
}

/// The delays of a run of each of these people, with so many viewers each.
pub(super) async fn watch(people: &[Person], pace: Pace, viewers: usize) -> Result<Latencies, Failure> {
    let mut tasks = JoinSet::new();
    for person in people {
        tasks.spawn(one_run(person.clone(), pace, viewers));
    }
    let mut all = Latencies::new();
    while let Some(done) = tasks.join_next().await {
        all.merge(&done.map_err(|error| failed("paced", error))??);
    }
    Ok(all)
}

async fn one_run(mut person: Person, pace: Pace, viewers: usize) -> Result<Latencies, Failure> {
    let thread = person.thread().await?;
    let sent = person.send(&thread, &pace.hint()).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..viewers {
        let (mut person, sent) = (person.clone(), sent.clone());
        tasks.spawn(async move {
            let mut latencies = Latencies::new();
            let watch = person.watch(&sent).await?;
            let seen = watch.finish(|text| pace.take(text, now_micros(), &mut latencies)).await?;
            seen.assert_chunks(usize::try_from(pace.chunks).unwrap_or(usize::MAX))?;
            Ok::<_, Failure>(latencies)
        });
    }
    let mut all = Latencies::new();
    while let Some(done) = tasks.join_next().await {
        all.merge(&done.map_err(|error| failed("paced", error))??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_late_by_what_it_misses_its_schedule() {
        let pace = Pace { chunks: 3, gap: Duration::from_millis(10) };
        let mut latencies = Latencies::new();
        pace.take("t1000 chunk-0 t1000 chunk-2 ", 1_021_500, &mut latencies);
        assert_eq!(latencies.count(), 2);
        assert!((latencies.p50() - 1.5).abs() < 0.01 && (latencies.max() - 21.5).abs() < 0.1, "{latencies:?}");
    }
}
