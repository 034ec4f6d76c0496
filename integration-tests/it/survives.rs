//! Processes die; runs go on, and viewers see it without a gap or a repeat.

use crate::harness::mesh;
use runmesh_client::SendOptions;
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;
use runmesh_testkit::{Service, until};
use runmesh_wire::pb::run::run::State;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The call stamps that the text shows: one model call, one stamp.
fn stamps(text: &str) -> BTreeSet<String> {
    text.split_whitespace()
        .filter(|word| word.starts_with('t') && word[1..].bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_of_a_model_call() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:20x100").await;
    drop(mesh.watch(0, &run).await);
    let owner = mesh.owner_of(&run).await;
    let survivor = 1 - match owner {
        Service::Orchestrator(index) => index,
        _ => unreachable!("workers live in orchestrators"),
    };
    let killed_at = Instant::now();
    mesh.kill(owner);
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert!(killed_at.elapsed() < Duration::from_secs(30));

    let attempts = seen.attempts();
    assert_eq!(attempts.len(), 2, "a second attempt was made: {attempts:?}");
    assert_eq!(seen.count(|event| matches!(event, Event::StepRetracted { .. })), 1, "the first attempt's text was retracted");
    let text = seen.view().text();
    assert_eq!(stamps(&text).len(), 1, "the text is of one model call: {text}");
    assert_eq!(text.matches("chunk-").count(), 20);
    let stored = mesh.client(survivor).list_messages(run.thread, runmesh_client::Paging::default()).await.expect("messages");
    let stored = runmesh_domain::message::plain_text(&stored.items.last().expect("an answer").parts);
    assert_eq!(stored, text, "the fold is the stored message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_under_its_viewers_and_its_writer() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:60x50").await;
    // Enough viewers that both relays have some; each has seen text before the kill.
    let viewers = futures::future::join_all((0..6).map(|n| mesh.watch(n % 2, &run))).await;
    mesh.kill(Service::Relay(0));
    let seen = futures::future::join_all(viewers.into_iter().map(runmesh_testkit::Viewer::to_end)).await;
    for seen in &seen {
        seen.assert_exact().assert_state(StateName::Completed);
        assert_eq!(seen.view().text().matches("chunk-").count(), 60);
        assert_eq!(seen.attempts(), [1], "the run itself was not disturbed");
    }
    assert!(seen.iter().any(|seen| seen.reconnects() > 0), "the dead relay had a viewer");
    assert!(seen.iter().any(|seen| seen.reconnects() == 0), "the living one too");
    mesh.revive(Service::Relay(0));
    mesh.attach(1, &run).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_under_its_viewer() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:30x50").await;
    drop(mesh.watch(0, &run).await);
    let start = runmesh_client::Start::Cursor(run.cursor.clone());
    let mut follow = mesh.client(0).follow(run.id, start);
    let first = follow.next().await;
    assert!(matches!(first, Some(Ok(_))), "{first:?}");
    mesh.kill(Service::Gateway(0));
    mesh.revive(Service::Gateway(0));
    let view = tokio::time::timeout(Duration::from_secs(60), follow.to_end()).await.expect("in time").expect("an end");
    assert_eq!(view.text().matches("chunk-").count(), 30);
    assert_eq!(&view, mesh.attach(1, &run).await.view());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_killed_costs_no_unary_call() {
    let mut mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (client, until_stop) = (mesh.client(0), std::sync::Arc::clone(&stop));
    let calls = tokio::spawn(async move {
        let mut count = 0;
        while !until_stop.load(std::sync::atomic::Ordering::Relaxed) {
            client.get_thread(thread).await.expect("no call fails");
            count += 1;
        }
        count
    });
    mesh.kill(Service::Orchestrator(0));
    for n in 0..20 {
        mesh.client(1).send(thread, format!("many:1 #{n}"), SendOptions::default()).await.expect("no call fails");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(calls.await.expect("the calls went on") > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_the_run_whoever_drives_it() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:200x100").await;
    drop(mesh.watch(0, &run).await);
    mesh.client(1).cancel_run(run.id).await.expect("acknowledged");
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Canceled);
    let finished = seen.view().finished.clone().expect("an end");
    let message = finished.message.expect("what was said is kept");
    assert!(message.unfinished && seen.view().text().contains("chunk-0"));
    assert_eq!(mesh.client(0).cancel_run(run.id).await.expect("again").state(), State::Canceled);

    // And with an owner that is dead: the flag outlives it.
    let run = mesh.send("slow:200x100").await;
    drop(mesh.watch(0, &run).await);
    let owner = mesh.owner_of(&run).await;
    mesh.freeze(owner);
    mesh.client(0).cancel_run(run.id).await.expect("acknowledged");
    mesh.kill(owner);
    assert_eq!(mesh.ended(&run).await.state(), State::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_orchestrator_gives_its_runs_back_at_once() {
    let mut mesh = mesh().lease_ms(15_000).start().await;
    let run = mesh.send("slow:40x50").await;
    drop(mesh.watch(0, &run).await);
    let owner = mesh.owner_of(&run).await;
    let status = mesh.terminate(owner, Duration::from_secs(40)).await;
    assert!(status.success(), "{status}");
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    let causes: Vec<_> = mesh.history(&run).await.transitions.into_iter().map(|transition| transition.cause).collect();
    assert_eq!(causes, ["accepted", "claimed", "released", "claimed", "finished"]);
    assert_eq!(seen.view().text().matches("chunk-").count(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_for_a_lease_is_fenced_off() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:40x100").await;
    drop(mesh.watch(0, &run).await);
    let owner = mesh.owner_of(&run).await;
    mesh.freeze(owner);
    let client = mesh.client(0);
    until("another worker drives the run", Duration::from_secs(30), || {
        let client = client.clone();
        async move { client.get_run(run.id).await.ok().filter(|run| run.fence >= 3).map(drop) }
    })
    .await;
    mesh.thaw(owner);
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(stamps(&seen.view().text()).len(), 1, "the zombie's words never entered the log");
    assert_eq!(seen.view().text().matches("chunk-").count(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_relay_sends_its_viewers_on_with_a_cursor() {
    let mut mesh = mesh().start().await;
    let run = mesh.send("slow:60x50").await;
    let viewers = futures::future::join_all((0..6).map(|n| mesh.watch(n % 2, &run))).await;
    let status = mesh.terminate(Service::Relay(0), Duration::from_secs(40)).await;
    assert!(status.success(), "{status}");
    let seen = futures::future::join_all(viewers.into_iter().map(runmesh_testkit::Viewer::to_end)).await;
    for seen in &seen {
        seen.assert_exact().assert_state(StateName::Completed);
    }
    assert!(seen.iter().any(|seen| seen.reconnects() > 0), "the drained relay had a viewer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_does_not_cost_a_whole_lease() {
    const LEASE: Duration = Duration::from_secs(15);
    let began = Instant::now();
    let mut mesh = mesh().lease_ms(15_000).start().await;
    // The locks of processes say nothing within a lease of Postgres's own start.
    until("postgres is older than a lease", LEASE * 2, || async { (began.elapsed() > LEASE).then_some(()) }).await;
    let run = mesh.send("slow:20x100").await;
    let viewer = mesh.watch(0, &run).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    let killed_at = std::time::SystemTime::now();
    viewer.to_end().await.assert_exact().assert_state(StateName::Completed);

    let transitions = mesh.history(&run).await.transitions;
    let lost = transitions.iter().find(|transition| transition.cause == "lease lost").expect("the lease was lost");
    let lost_at = std::time::SystemTime::try_from(lost.time.expect("its time")).expect("a time");
    // The last heartbeat was at most a third of a lease old: the lease itself would have lasted two thirds more.
    let waited = lost_at.duration_since(killed_at).unwrap_or_default();
    assert!(waited < LEASE / 2, "{waited:?}");
}
