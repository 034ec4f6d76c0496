//! Tools: declared on the agent, journaled before and after, in parallel, never against the policy.

use crate::harness::small;
use runmesh_client::SendOptions;
use runmesh_domain::agent::{AgentLimits, AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use runmesh_wire::pb::run::step::CallState;

fn http(name: &str, url: String, policy: ToolPolicy) -> Tool {
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}}}"#.to_owned();
    Tool { name: name.into(), description: String::new(), policy, kind: ToolKind::Http { url, schema, idempotent: true } }
}

/// The tool that tells the time.
pub fn clock() -> Tool {
    Tool { name: "current_time".into(), description: String::new(), policy: ToolPolicy::Allow, kind: ToolKind::Builtin }
}

/// Sends `text` to an agent with `tools`.
pub async fn ask(mesh: &Mesh, tools: Vec<Tool>, text: &str) -> Run {
    let limits = AgentLimits { max_steps: 3, ..AgentLimits::default() };
    let spec = AgentSpec { tools, limits, ..AgentSpec::default() };
    let client = mesh.client(0);
    client.apply_agent("tooled", spec).await.expect("an agent");
    let thread = client.create_thread("tooled", "").await.expect("a thread");
    let sent = client.send(thread, text, SendOptions::default()).await.expect("accepted");
    Run { thread, id: sent.run, cursor: sent.cursor }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_calls_run_once_each_and_their_results_reach_the_model() {
    let mesh = small().start().await;
    let tools = vec![http("echo", format!("{}/echo", mesh.model().tools_url()), ToolPolicy::Allow), clock()];
    let run = ask(&mesh, tools, r#"tool:echo{"n":1} tool:echo{"n":2} tool:current_time{}"#).await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.count(|event| matches!(event, Event::ToolCallFinished { is_error: false, .. })), 3);
    assert_eq!((mesh.model().effects_total(), mesh.model().effects_most()), (2, 1), "each call reached its tool once");

    let steps = mesh.history(&run).await.steps;
    let states: Vec<_> = steps[0].calls.iter().map(|call| call.state()).collect();
    assert_eq!(states, [CallState::Done; 3], "{steps:?}");
    let request = mesh.model().received().pop().expect("a call").body().clone();
    let results = request["messages"].as_array().expect("messages").iter().filter(|message| message["role"] == "tool").count();
    assert_eq!(results, 3, "the model hears every result");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_denies_or_nobody_declared_or_does_not_fit_never_runs() {
    let mesh = small().start().await;
    let url = format!("{}/echo", mesh.model().tools_url());
    let tools = vec![http("denied", url.clone(), ToolPolicy::Deny), http("echo", url, ToolPolicy::Allow)];
    let run = ask(&mesh, tools, r#"tool:denied{} tool:unknown{} tool:echo{"n":"no number"}"#).await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(mesh.model().effects_total(), 0, "no tool was reached");
    let steps = mesh.history(&run).await.steps;
    assert!(steps[0].calls.iter().all(|call| call.state() == CallState::Failed && !call.content.is_empty()), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_fails_is_the_models_to_read() {
    let mesh = small().start().await;
    let tools = vec![http("fail", format!("{}/fail/500", mesh.model().tools_url()), ToolPolicy::Allow)];
    let run = ask(&mesh, tools, "tool:fail{}").await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.count(|event| matches!(event, Event::ToolCallFinished { is_error: true, .. })), 1);
}
