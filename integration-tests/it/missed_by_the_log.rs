//! S3 when the log was away: what the journal has and the log missed is published by the next worker that drives the run.

use crate::harness::mesh;
use crate::tools::{ask, clock};
use runmesh_domain::event::Event;
use runmesh_domain::path::StepKey;
use runmesh_domain::run::StateName;
use runmesh_testkit::until;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_a_lost_attempt_that_the_log_missed_is_published_by_the_next() {
    let mut mesh = mesh().own_engines().start().await;
    mesh.engines().nats().expect("an own server").kill().await.expect("SIGKILL");
    let run = ask(&mesh, vec![clock()], "tool:current_time{} slow:60x100").await;
    until("the second step speaks to nobody", Duration::from_secs(60), || async { (mesh.model().calls() >= 2).then_some(()) })
        .await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    mesh.engines().nats().expect("an own server").restart().await.expect("it comes back");

    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert!(mesh.run(&run).await.fence > 1, "a second attempt was made");
    let first = seen.view().steps.get(&StepKey::top(1)).expect("the log holds the first step");
    let (result, is_error) = first.calls[&0].outcome.clone().expect("and what its call gave");
    assert!(first.finished && !is_error);
    assert_eq!(mesh.history(&run).await.steps[0].calls[0].content, result, "as the journal has it");
    assert_eq!(seen.count(|event| matches!(event, Event::StepFinished { step: StepKey { step_index: 1, .. }, .. })), 1, "once");
}
