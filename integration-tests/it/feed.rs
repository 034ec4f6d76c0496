//! The transition feed, and the wake-ups that make it fast.

use crate::harness::{mesh, small};
use crate::sql;
use runmesh_bus::{Bus, BusConfig};
use runmesh_client::{SendOptions, Start};
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
    // The first orchestrator only serves, the second only drives; its next poll is far away.
    let mesh = mesh().workers_apart().set(Kind::Orchestrator, "LEASES__POLL_MS", "60000").start().await;
    let thread = mesh.thread().await;
    let client = mesh.client(0);
    let started = Instant::now();
    for n in 0..20 {
        let sent = client.send(thread, format!("many:1 #{n}"), SendOptions::default()).await.expect("accepted");
        let view = client.follow(sent.run, Start::Cursor(sent.cursor)).to_end().await.expect("an end");
        assert_eq!(view.finished.map(|end| end.state), Some(StateName::Completed));
    }
    assert!(started.elapsed() < Duration::from_secs(60), "twenty runs did not wait for a single poll");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_wake_up_is_lost_starts_within_the_poll() {
    let mesh = mesh().own_engines().workers_apart().set(Kind::Orchestrator, "LEASES__POLL_MS", "2000").start().await;
    let thread = mesh.thread().await;
    // Without NATS there is no wake-up, and no log either; the run goes on without both.
    mesh.engines().nats().expect("an own server").kill().await.expect("SIGKILL");
    let sent = mesh.client(0).send(thread, "many:3", SendOptions::default()).await.expect("accepted without NATS");
    let client = mesh.client(0);
    let run = runmesh_testkit::until("the run ends without NATS", Duration::from_secs(30), || {
        let client = client.clone();
        async move { client.get_run(sent.run).await.ok().filter(|run| run.end_time.is_some()) }
    })
    .await;
    assert_eq!(run.state(), runmesh_wire::pb::run::run::State::Completed);

    // When NATS is back, whoever attaches gets it all: the log is brought up to the run.
    mesh.engines().nats().expect("an own server").restart().await.expect("it comes back");
    let view = client.follow(sent.run, Start::Cursor(sent.cursor)).to_end().await.expect("an end");
    assert!(view.text().contains("chunk-2"), "{}", view.text());
}

/// What this version cannot read stays in the table for the version that wrote it, however much there is of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_unreadable_transitions_keep_no_other_from_its_log() {
    let mesh = small().start().await;
    let run = mesh.send("many:1").await;
    mesh.attach(0, &run).await.assert_exact();
    let one = run.id.uuid();
    let copies = format!(
        "CREATE TEMP TABLE copies AS SELECT gen_random_uuid() AS thread, gen_random_uuid() AS run FROM generate_series(1, 2500);
         INSERT INTO threads SELECT (jsonb_populate_record(t, jsonb_build_object('id', c.thread))).* FROM threads t, copies c
           WHERE t.id = (SELECT thread_id FROM runs WHERE id = '{one}');
         INSERT INTO runs SELECT (jsonb_populate_record(r, jsonb_build_object('id', c.run, 'thread_id', c.thread))).*
           FROM runs r, copies c WHERE r.id = '{one}';
         INSERT INTO run_transitions SELECT (jsonb_populate_record(t, jsonb_build_object('run_id', c.run, 'cause', 'a whim',
           'logged', false, 'fed', true, 'at', t.at - interval '1 hour'))).* FROM run_transitions t, copies c
           WHERE t.run_id = '{one}' AND t.version = 2;
         UPDATE run_transitions SET logged = false WHERE run_id = '{one}' AND version = 3"
    );
    sql::query(&mesh, &copies).await;
    let left = format!("SELECT count(*) FROM run_transitions WHERE run_id = '{one}' AND NOT logged");
    runmesh_testkit::until("the readable one is published and marked", Duration::from_secs(30), || {
        let left = sql::query(&mesh, &left);
        async move { (left.await == ["0"]).then_some(()) }
    })
    .await;
}
