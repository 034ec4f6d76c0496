//! The transition feed, and the wake-ups that make it fast.

use crate::harness::mesh;
use runmesh_bus::{Bus, BusConfig};
use runmesh_client::{SendOptions, Start, Update};
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::Kind;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transition_reaches_the_feed_once_and_in_order_over_a_restart_of_nats() {
    let mesh = mesh().own_engines().start().await;
    let first = mesh.send("many:3").await;
    mesh.attach(0, &first).await.assert_exact();
    mesh.engines().nats().expect("an own server").kill().await.expect("SIGKILL");
    let thread = mesh.thread().await;
    let during = mesh.client(0).send(thread, "many:3", SendOptions::default()).await.expect("accepted without NATS");
    mesh.engines().nats().expect("an own server").restart().await.expect("it comes back");
    let runs = [first.id, during.run];
    let client = mesh.client(0);
    runmesh_testkit::until("the run ends once NATS is back", Duration::from_secs(60), || {
        let client = client.clone();
        async move { client.get_run(during.run).await.ok().filter(|run| run.end_time.is_some()).map(drop) }
    })
    .await;

    let bus = Bus::connect(BusConfig::new(mesh.engines().nats_url(), "test")).await.expect("a bus");
    let mut feed = bus.feed().consume("test-reader").await.expect("a consumer");
    let mut seen: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while runs.iter().any(|run| !seen.get(run).is_some_and(|versions| versions.contains(&3))) {
        assert!(Instant::now() < deadline, "the feed holds only {seen:?}");
        let Ok(fed) = tokio::time::timeout(Duration::from_secs(5), feed.next()).await else { continue };
        let fed = fed.expect("a readable event");
        fed.ack().await.expect("an acknowledgement");
        let event = &fed.event;
        let versions = seen.entry(event.run).or_default();
        if !versions.contains(&event.version) {
            versions.push(event.version);
        }
    }
    for run in runs {
        assert_eq!(seen[&run], [1, 2, 3], "in order of version");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_elsewhere_is_woken_over_nats_and_not_by_the_poll() {
    // The first orchestrator only serves, the second drives; the poll is far away.
    let mut mesh = mesh().set(Kind::Orchestrator, "LEASES__POLL_MS", "60000").start().await;
    mesh.wait_ready().await;
    let thread = mesh.thread().await;
    let client = mesh.client(0);
    let mut times = Vec::new();
    for n in 0..20 {
        let started = Instant::now();
        let sent = client.send(thread, format!("many:1 #{n}"), SendOptions::default()).await.expect("accepted");
        let mut follow = client.follow(sent.run, Start::Cursor(sent.cursor));
        loop {
            match follow.next().await.expect("an update").expect("no error") {
                Update::Events { .. } => break,
                _ => assert!(started.elapsed() < Duration::from_secs(30), "the run was never started"),
            }
        }
        times.push(started.elapsed());
        let view = follow.to_end().await.expect("an end");
        assert_eq!(view.finished.map(|end| end.state), Some(StateName::Completed));
    }
    times.sort_unstable();
    println!("first event: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
}
