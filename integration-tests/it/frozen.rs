//! Processes that stand still, with their connections open, as paused machines and swallowed packets make them: each costs about as
//! little as a dead one. Nothing here waits for one to come back.

use crate::harness::mesh;
use runmesh_client::SendOptions;
use runmesh_domain::run::StateName;
use runmesh_testkit::{Mesh, Service, Viewer, until};
use std::time::Duration;

/// Less than the 30 s after which HTTP/2 alone would notice, and long for a busy machine.
const PATIENCE: Duration = Duration::from_secs(25);

/// Far less than that, and long for a busy machine: a writer leaves a frozen relay within two seconds.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// Viewers of each run.
const VIEWERS: usize = 4;

/// Freezes `service`, and sees that it stands still.
async fn freeze(mesh: &mut Mesh, service: Service) {
    mesh.freeze(service);
    let mesh = &*mesh;
    until("the process stands still", PATIENCE, || async move { mesh.is_frozen(service).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_relay_starves_no_viewer() {
    let mut mesh = mesh().start().await;
    // Enough runs that each relay has the writer of one, and enough viewers that each has some of every run.
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(mesh.send("slow:240x50").await);
    }
    let viewers = runs.iter().flat_map(|run| (0..VIEWERS).map(move |n| (n % 2, run)));
    let viewers = futures::future::join_all(viewers.map(|(gateway, run)| mesh.watch(gateway, run))).await;
    freeze(&mut mesh, Service::Relay(0)).await;
    let mut viewers = viewers;
    // More than can have been on its way. A viewer of the frozen relay comes back later than a writer.
    let more = viewers.iter_mut().map(|viewer| async move {
        let went_on = tokio::time::timeout(WRITER_PATIENCE, viewer.more_text(60)).await.is_ok();
        (went_on, viewer.reconnects())
    });
    let more = futures::future::join_all(more).await;
    for of_run in more.chunks(VIEWERS) {
        let goes_on = of_run.iter().any(|(went_on, reconnects)| *went_on && *reconnects == 0);
        assert!(goes_on, "wherever its writer was, a run's text goes on at the other relay: {more:?}");
    }
    let to_end = futures::future::join_all(viewers.into_iter().map(Viewer::to_end));
    let seen = tokio::time::timeout(PATIENCE, to_end).await.expect("every viewer sees every end while one relay stands still");
    assert!(mesh.is_frozen(Service::Relay(0)), "it never came back");
    for seen in &seen {
        seen.assert_exact().assert_state(StateName::Completed);
        assert_eq!(seen.view().text().matches("chunk-").count(), 240);
        assert_eq!(seen.attempts(), [1], "the run itself was not disturbed");
    }
    assert!(seen.iter().any(|seen| seen.reconnects() > 0), "the frozen relay had a viewer");
    assert!(seen.iter().any(|seen| seen.reconnects() == 0), "the other one too");

    // And what it does when it comes back changes nothing.
    mesh.thaw(Service::Relay(0));
    for run in &runs {
        mesh.attach(1, run).await.assert_exact().assert_state(StateName::Completed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_orchestrator_costs_no_unary_call() {
    let mut mesh = mesh().start().await;
    let thread = mesh.thread().await;
    freeze(&mut mesh, Service::Orchestrator(0)).await;
    let calls = (0..10).map(|n| {
        let client = mesh.client(n % 2);
        async move { client.get_thread(thread).await.map(drop) }
    });
    let answers = tokio::time::timeout(PATIENCE, futures::future::join_all(calls)).await.expect("every call is answered");
    for answer in answers {
        answer.expect("by the other one");
    }
    for gateway in 0..2 {
        let client = mesh.client(gateway);
        let send = client.send(thread, format!("many:1 #{gateway}"), SendOptions::default());
        tokio::time::timeout(PATIENCE, send).await.expect("in time").expect("accepted");
    }
    assert!(mesh.is_frozen(Service::Orchestrator(0)), "it never came back");
}
