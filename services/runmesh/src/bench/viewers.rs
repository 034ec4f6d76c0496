//! What 600 viewers of idle threads cost in statements, beside the same mesh without them: of as many threads, and of one. Both
//! relays reach Postgres through a counter.

use super::people::Person;
use super::processes::Part;
use super::report::Row;
use super::statements::Counter;
use super::{Ground, failed};
use crate::failure::Failure;
use runmesh_wire::pb::stream::AttachThreadResponse;
use std::time::{Duration, Instant};
use tonic::Streaming;

/// Viewers at once.
const VIEWERS: usize = 600;
/// How long relays may busy themselves with their start, or with many who attached.
const SETTLED: Duration = Duration::from_secs(5);
const RELAYS: [Part; 2] = [Part::Relay(0), Part::Relay(1)];

/// Measures both.
pub(super) async fn measure(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let counter = Counter::start(&ground.fleet.postgres_url).await?;
    restart_relays(ground, &[("POSTGRES_URL", counter.url())])?;
    let mut all = ground.people.all.clone();
    let first = all.first_mut().ok_or_else(|| failed("people", "nobody is there"))?;
    let (org, shared) = (first.org.clone(), first.thread().await?);
    ground.fleet.until("the relays", || attaches(first.clone(), shared.clone())).await?;
    let without = rate(ground, &counter).await;
    let threads = many_threads(&mut all).await?;
    let with_many = with_viewers(ground, &counter, threads).await?;
    row(ground, &format!("viewers x{VIEWERS}"), "of as many threads", with_many, without);
    let of_org = all.iter().filter(|person| person.org == org).cycle().take(VIEWERS);
    let with_one = with_viewers(ground, &counter, of_org.map(|person| (person.clone(), shared.clone())).collect()).await?;
    row(ground, &format!("viewers x{VIEWERS}"), "of one thread", with_one, without);
    restart_relays(ground, &[])?;
    let again = all.first().cloned().ok_or_else(|| failed("people", "nobody is there"))?;
    ground.fleet.until("the relays", || attaches(again.clone(), shared.clone())).await?;
    counter.stop().await;
    ground.fleet.check()
}

fn restart_relays(ground: &mut Ground<'_>, settings: &[(&str, &str)]) -> Result<(), Failure> {
    for relay in RELAYS {
        ground.fleet.kill(relay)?;
        ground.fleet.launch(relay, settings)?;
    }
    Ok(())
}

async fn attaches(mut person: Person, thread: String) -> Option<()> {
    person.attach_thread(&thread).await.ok().map(drop)
}

/// One thread for each viewer.
async fn many_threads(all: &mut [Person]) -> Result<Vec<(Person, String)>, Failure> {
    let mut threads = Vec::with_capacity(VIEWERS);
    for number in 0..VIEWERS {
        let index = number % all.len();
        let person = all.get_mut(index).ok_or_else(|| failed("people", "nobody is there"))?;
        threads.push((person.clone(), person.thread().await?));
    }
    Ok(threads)
}

/// Statements a second of both relays while everybody is attached.
async fn with_viewers(ground: &Ground<'_>, counter: &Counter, threads: Vec<(Person, String)>) -> Result<f64, Failure> {
    let mut attached: Vec<Streaming<AttachThreadResponse>> = Vec::with_capacity(threads.len());
    for (mut person, thread) in threads {
        attached.push(person.attach_thread(&thread).await?);
    }
    let rate = rate(ground, counter).await;
    drop(attached);
    Ok(rate)
}

async fn rate(ground: &Ground<'_>, counter: &Counter) -> f64 {
    tokio::time::sleep(SETTLED).await;
    let (before, began) = (counter.count(), Instant::now());
    tokio::time::sleep(ground.plan.idle).await;
    (counter.count() - before) as f64 / began.elapsed().as_secs_f64()
}

fn row(ground: &Ground<'_>, name: &str, of: &'static str, with: f64, without: f64) {
    let row = Row::new(name).with("added statements/s", with - without, of).with("with them", with, "statements/s").with(
        "without",
        without,
        "statements/s",
    );
    ground.report.row(&row);
}
