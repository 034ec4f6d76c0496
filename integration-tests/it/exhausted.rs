//! A run that takes every worker with it ends; what was beside it goes on.

use crate::harness::mesh;
use crate::sql;
use runmesh_domain::limits::{ATTEMPT_BACKOFF, ATTEMPT_BACKOFF_MAX, CUT_ATTEMPTS_MAX};
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use runmesh_testkit::until;
use runmesh_wire::pb::run::run::State;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// The session that drives the run; nothing when the run is over.
async fn driver(mesh: &Mesh, run: &Run) -> Option<String> {
    until("the run has its next attempt or its end", DEADLINE, || async {
        let now = mesh.client(0).get_run(run.id).await.ok()?;
        let is_over = now.end_time.is_some();
        (is_over || now.state() == State::Running).then(|| (!is_over).then_some(now.session_id))
    })
    .await
}

/// Waits until the run was taken from its worker, and answers how long it is to wait. Then it is let go on at once.
async fn wait_of(mesh: &Mesh, run: &Run, session: &str) -> Duration {
    until("the run is taken from its worker", DEADLINE, || async {
        let now = mesh.client(0).get_run(run.id).await.ok()?;
        (now.session_id != session).then_some(())
    })
    .await;
    let id = run.id.uuid();
    let wait = format!("SELECT coalesce(extract(epoch FROM not_before - changed_at), 0)::int8 FROM runs WHERE id = '{id}'");
    let seconds = sql::query(mesh, &wait).await.remove(0).parse().expect("a number");
    sql::query(mesh, &format!("UPDATE runs SET not_before = NULL WHERE id = '{id}'")).await;
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_takes_every_worker_with_it_ends_and_nothing_else_does() {
    let mut mesh = mesh().start().await;
    // Its one model call never ends, so no attempt journals a step.
    let run = mesh.send("slow:3000x100").await;
    let next = mesh.send_on(run.thread, "many:3").await;
    let mut waits = Vec::new();
    while let Some(session) = driver(&mesh, &run).await {
        assert!(waits.len() < CUT_ATTEMPTS_MAX as usize, "the run goes on after these waits: {waits:?}");
        let owner = mesh.owner_of(&run).await;
        mesh.kill(owner);
        mesh.revive(owner);
        waits.push(wait_of(&mesh, &run, &session).await);
    }
    let ended = mesh.ended(&run).await;
    assert_eq!((ended.state(), ended.reason.as_str()), (State::Failed, "ATTEMPTS_EXHAUSTED"), "{ended:?}");
    assert_eq!(waits.len(), CUT_ATTEMPTS_MAX as usize);
    let doubled = |n: u32| (ATTEMPT_BACKOFF * 2_u32.pow(n)).min(ATTEMPT_BACKOFF_MAX);
    let wanted = [Duration::ZERO].into_iter().chain((0..).map(doubled)).take(waits.len() - 1);
    assert_eq!(waits[..waits.len() - 1], wanted.collect::<Vec<_>>(), "each longer than the one before");

    mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Failed);
    mesh.attach(1, &next).await.assert_exact().assert_state(StateName::Completed);
    let beside = mesh.send("many:3").await;
    mesh.attach(1, &beside).await.assert_exact().assert_state(StateName::Completed);
}
