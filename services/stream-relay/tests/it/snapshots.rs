//! A snapshot is true whenever it is taken: while a run waits for a person, and of a log that lost its head.

use crate::client::{SNAPSHOT, START, step_started, text};
use crate::world::{World, eventually, journaled};
use prost::Message as _;
use runmesh_bus::{Batch, PublishOutcome, RunKey};
use runmesh_domain::agent::{Tool, ToolKind, ToolPolicy};
use runmesh_domain::chain::Chain;
use runmesh_domain::fold::RunView;
use runmesh_domain::journal::ModelStep;
use runmesh_domain::log::{Held, Position, Tail};
use runmesh_domain::message::Part;
use runmesh_domain::path::StepKey;
use runmesh_domain::run::StateName;
use runmesh_store::steps::{self, Entry};

/// A tool whose calls must not be made twice.
fn pay() -> Tool {
    let kind = ToolKind::Http { url: "http://tool/".into(), schema: "{}".into(), idempotent: false };
    Tool { name: "pay".into(), description: String::new(), policy: ToolPolicy::Allow, kind }
}

#[tokio::test]
async fn a_late_viewer_of_a_run_that_waits_sees_its_steps_its_state_and_its_question() {
    let (world, _engines) = World::alone(vec![pay()]).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    // The worker journals a step and begins its call, and is lost before the log has anything of it.
    let result = ModelStep {
        parts: vec![Part::text("I pay. "), Part::tool_call("c", "pay", "{}")],
        model: "m".into(),
        ..ModelStep::default()
    };
    let call = StepKey::top(1).call(0);
    world
        .system(move |tx| {
            let entries = vec![journaled(1.into(), result.clone()), Entry::CallDispatched { call: call.clone() }];
            Box::pin(async move { steps::record(tx, lease, entries, None).await })
        })
        .await;
    world.lose(lease).await;

    let mut late = relay.client.attach(&who, run, SNAPSHOT).await;
    let seen = late.until(|seen| !seen.cursor.is_empty()).await.clone();
    assert!(!seen.from_database, "the log holds all of it");
    assert_eq!(seen.view.state, Some(StateName::Waiting));
    let question = seen.view.question.as_ref().unwrap();
    assert!(question.summary.contains("pay"), "{question:?}");
    let step = &seen.view.steps[&StepKey::top(1)];
    assert_eq!((step.text.as_str(), step.finished, step.calls.len()), ("I pay. ", true, 1));
    let mut early = relay.client.attach(&who, run, START).await;
    early.until(|early| early.view == seen.view).await;

    // What Postgres alone shows is the same.
    let rows = world.log_rows(run).await;
    let transitions: Vec<_> = rows.transitions.into_iter().map(|(transition, _)| transition).collect();
    let of_journal = RunView::of_journal(&rows.steps.unwrap(), &transitions, seen.view.seq, seen.view.chain);
    assert_eq!(of_journal, seen.view);
}

#[tokio::test]
async fn the_step_under_way_is_whole_in_a_log_that_lost_its_head() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let (_, lease) = world.claim_untold().await;
    let chain = Chain(7);
    world.journal(lease, 1, "kept ", Position { seq: 38, chain: Chain(6) }).await;
    // What a stream leaves that has dropped its oldest messages.
    let key = RunKey { org: lease.org, thread: lease.thread, run };
    let held = Held { step: 1, ..Held::default() };
    let before = Tail { fence: lease.fence, number: 37, version: 2, open: true, seq: 40, chain, held, ..Tail::default() };
    let events = [step_started(2), text(2, "and ")].map(|event| event.encode_to_vec().into()).to_vec();
    let batch = Batch::after(run, Tail { number: 39, ..before }, events);
    let stored = world.bus.log().publish(key, &batch, 0).await.unwrap();
    assert!(matches!(stored, PublishOutcome::Stored { .. }), "{stored:?}");

    let mut viewer = relay.client.attach(&who, run, SNAPSHOT).await;
    let seen = viewer.until(|seen| !seen.cursor.is_empty()).await;
    assert_eq!((seen.view.text().as_str(), seen.view.seq, seen.from_database), ("kept and ", 42, false));
    let (mut appender, started) = relay.client.append(lease).await;
    assert_eq!(started.number, 39);
    appender.send(vec![text(2, "on")]).await;
    appender.settled().await;
    let seen = viewer.until(|seen| seen.view.text() == "kept and on").await;
    assert!(seen.resets.is_empty());
    eventually("a later snapshot shows the same", async || {
        let mut late = relay.client.attach(&who, run, SNAPSHOT).await;
        let late = late.until(|seen| !seen.cursor.is_empty()).await;
        (late.view.text() == "kept and on" && late.view.seq == 43).then_some(())
    })
    .await;
}
