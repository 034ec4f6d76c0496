//! Viewers beside others that read nothing: the delay of their deltas with and without those, measured in turns, so that what else
//! the machine does falls on both alike.

use super::latency::Latencies;
use super::paced::{self, Pace};
use super::people::Person;
use super::report::Row;
use super::stream::Watch;
use super::{Ground, failed};
use crate::failure::Failure;
use runmesh_wire::pb::stream::FromStart;
use runmesh_wire::pb::stream::attach_run_request::From;
use std::time::Duration;

/// Pairs of measurements.
const PAIRS: usize = 5;
/// Viewers that read nothing: as many as one person may have.
const STALLED: usize = 50;
/// Runs with a viewer each, at the gateway of those.
const RUNS: usize = 10;
/// Chunks of the run that is not read: more than all windows on the way to a viewer hold.
const CHUNKS: usize = 20_000;
/// Well below the time after which the mesh resets streams that nobody reads.
const MEASURE_MAX: Duration = Duration::from_secs(20);

/// Measures the pairs.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let all = &ground.people.all;
    let (idler, readers) = all.split_last().ok_or_else(|| failed("people", "nobody is there"))?;
    let (idler, readers) = (idler.clone(), readers.iter().take(RUNS).cloned().collect::<Vec<_>>());
    let run = long_run(idler.clone()).await?;
    let pace = Pace::of(ground.plan.measure.min(MEASURE_MAX));
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Every other pair the other way round.
        for stalls in [pair % 2 == 1, pair % 2 == 0] {
            let stalled = if stalls { stall(ground, &idler, &run).await? } else { Vec::new() };
            let seen = paced::watch(&readers, pace, 1).await?;
            drop(stalled);
            if stalls { beside.push(seen) } else { alone.push(seen) }
        }
    }
    for (pair, (alone, beside)) in alone.iter().zip(&beside).enumerate() {
        let row = Row::new(format!("stalled, pair {}", pair + 1))
            .with("alone p99", alone.p99(), "ms")
            .with("beside 50 p99", beside.p99(), "ms")
            .with("ratio of p99", beside.p99() / alone.p99(), "");
        ground.report.row(&row);
    }
    let ratios = alone.iter().zip(&beside).map(|(alone, beside)| beside.p99() / alone.p99());
    let row = Row::new("stalled x50")
        .with("alone p99", median(alone.iter().map(Latencies::p99)), "ms")
        .with("beside 50 p99", median(beside.iter().map(Latencies::p99)), "ms")
        .with("median ratio of p99", median(ratios), "");
    ground.report.row(&row);
    ground.fleet.check()
}

/// A run that is over and has much to read.
async fn long_run(mut person: Person) -> Result<String, Failure> {
    let thread = person.thread().await?;
    let sent = person.send(&thread, &format!("many:{CHUNKS}")).await?;
    person.watch(&sent).await?.finish(|_| {}).await?.assert_chunks(CHUNKS)?;
    Ok(sent.run)
}

/// Viewers of `run` that took one frame and take no more, each over a connection of its own.
async fn stall(ground: &Ground<'_>, person: &Person, run: &str) -> Result<Vec<Watch>, Failure> {
    let mut stalled = Vec::with_capacity(STALLED);
    for _ in 0..STALLED {
        let mut watch = person.apart(&ground.fleet.gateway(1))?.attach(run, From::Start(FromStart {})).await?;
        watch.frame().await?.ok_or_else(|| failed("stalled", "a stream ended at once"))?;
        stalled.push(watch);
    }
    Ok(stalled)
}

/// The middle one.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one_of_an_odd_number() {
        assert!((median([3.0, 9.0, 1.0].into_iter()) - 3.0).abs() < f64::EPSILON);
        assert!(median(std::iter::empty()).is_nan());
    }
}
