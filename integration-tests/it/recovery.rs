//! R4: what may have happened is never done again without a person's word; what is safe to repeat is, with the same key.

use crate::harness::mesh;
use runmesh_client::{Paging, SendOptions};
use runmesh_domain::agent::{AgentSpec, OnUnknownOutcome, Tool, ToolKind, ToolPolicy};
use runmesh_domain::event::Event;
use runmesh_domain::journal::call_key;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use runmesh_testkit::until;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::run::step::CallState;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A run whose tool call has reached its tool, which takes `tool_ms` to answer.
async fn in_a_call(mesh: &Mesh, idempotent: bool, on_unknown_outcome: OnUnknownOutcome, tool_ms: u32) -> Run {
    let url = format!("{}/slow/{tool_ms}", mesh.model().tools_url());
    let kind = ToolKind::Http { url, schema: r#"{"type":"object"}"#.into(), idempotent };
    let tool = Tool { name: "pay".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
    let client = mesh.client(0);
    client
        .apply_agent("payer", AgentSpec { tools: vec![tool], on_unknown_outcome, ..AgentSpec::default() })
        .await
        .expect("an agent");
    let thread = client.create_thread("payer", "").await.expect("a thread");
    let sent = client.send(thread, r#"tool:pay{"amount":7}"#, SendOptions::default()).await.expect("accepted");
    until("the call reaches its tool", DEADLINE, || async { (mesh.model().effects_total() == 1).then_some(()) }).await;
    Run { thread, id: sent.run, cursor: sent.cursor }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_have_happened_waits_for_a_person() {
    let mut mesh = mesh().start().await;
    let run = in_a_call(&mesh, false, OnUnknownOutcome::Ask, 60_000).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    let client = mesh.client(1);
    until("the run waits", DEADLINE, || {
        let client = client.clone();
        async move { client.get_run(run.id).await.ok().filter(|run| run.state() == State::Waiting) }
    })
    .await;
    let actions = client.list_pending_actions(Paging::default()).await.expect("the inbox").items;
    assert_eq!(actions.len(), 1);
    assert_eq!((actions[0].run_id.clone(), actions[0].calls[0].name.as_str()), (run.id.to_string(), "pay"));
    assert_eq!(actions[0].calls[0].arguments_json, r#"{"amount":7}"#, "what is asked about is what ran");
    assert_eq!(mesh.model().effects_total(), 1, "nobody called the tool again");

    client.cancel_run(run.id).await.expect("a waiting run can be canceled");
    let seen = mesh.attach(1, &run).await;
    seen.assert_exact().assert_state(StateName::Canceled);
    assert_eq!(seen.count(|event| matches!(event, Event::ApprovalRequested { .. })), 1, "viewers saw the question");
    assert!(client.list_pending_actions(Paging::default()).await.expect("the inbox").items.is_empty(), "withdrawn with its run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_have_happened_can_fail_the_run() {
    let mut mesh = mesh().start().await;
    let run = in_a_call(&mesh, false, OnUnknownOutcome::Fail, 60_000).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    let seen = mesh.attach(1, &run).await;
    seen.assert_exact().assert_state(StateName::Failed);
    let finished = seen.view().finished.clone().expect("an end");
    assert_eq!(finished.reason, "OUTCOME_UNKNOWN");
    assert!(finished.detail.contains("pay"), "the call is named: {}", finished.detail);
    assert_eq!(mesh.model().effects_total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_call_is_made_again_with_the_same_key() {
    let mut mesh = mesh().start().await;
    let run = in_a_call(&mesh, true, OnUnknownOutcome::Ask, 3_000).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    let seen = mesh.attach(1, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(mesh.model().effects(&call_key(run.id, &1.into(), 0)), 2, "twice under one key");
    let history = mesh.history(&run).await;
    assert_eq!(history.steps.len(), 2, "the call's step and the answer");
    assert_eq!(mesh.model().calls(), 2, "the journaled step was not asked of the model again");
    assert_eq!(history.steps[0].calls[0].state(), CallState::Done);
}
