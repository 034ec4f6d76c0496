//! Runs from their first model call to their end.

use crate::fake::State;
use crate::harness::{Assignment, Bench, TRACEPARENT, builtin, http_tool, run_id};
use runmesh_domain::event::Event;
use runmesh_domain::journal::ModelStep;
use runmesh_domain::message::{Part, plain_text};
use runmesh_domain::path::StepKey;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::finish_request::Outcome;
use runmesh_wire::pb::worker::journal_entry::Entry;

pub fn last_step(finish: &pb::FinishRequest) -> ModelStep {
    finish.last_step.clone().unwrap().result.unwrap().from_wire("result").unwrap()
}

fn text_of(finish: &pb::FinishRequest) -> String {
    plain_text(&last_step(finish).parts)
}

fn log_text(state: &State) -> String {
    state.view().text()
}

fn kinds(state: &State) -> Vec<&'static str> {
    state
        .entries()
        .into_iter()
        .map(|entry| match entry {
            Entry::ModelStep(_) => "step",
            Entry::CallDispatched(_) => "dispatched",
            Entry::CallDone(_) => "done",
        })
        .collect()
}

#[tokio::test]
async fn a_run_of_words_is_told_and_finished_in_one_write() {
    let bench = Bench::with(Assignment::of("many:200")).await;
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    assert!(text_of(&finish).contains("chunk-199"));
    let state = bench.mesh.state();
    assert_eq!(log_text(&state), text_of(&finish));
    assert!(state.recorded.is_empty());
    assert_eq!(state.log[0], Event::StepStarted { step: 1.into(), model: "mock".into() });
    let acked = finish.acked.unwrap();
    assert_eq!(usize::try_from(acked.seq).unwrap(), state.log.len());
    assert_eq!(state.metadata, ("Bearer run-token".to_owned(), TRACEPARENT.to_owned()));
    assert_eq!(state.acks.len(), 1);
}

#[tokio::test]
async fn tool_calls_run_in_parallel_under_their_keys() {
    let mut bench = Bench::new().await;
    let text = r#"tool:echo{"x":1} tool:current_time{} tool:echo{"x":2}"#;
    bench.assign(Assignment::of(text).tool(http_tool("echo", bench.tool_url("echo"), false)).tool(builtin("current_time")));
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    let state = bench.mesh.state();
    let order = kinds(&state);
    assert_eq!(order[..4], ["step", "dispatched", "dispatched", "dispatched"]);
    assert_eq!(order.iter().filter(|kind| **kind == "done").count(), 3);
    assert_eq!(state.recorded[1].len(), 3, "dispatched in one write");
    for call in [0, 2] {
        assert_eq!(bench.model.effects(&format!("{}-1-{call}", run_id())), 1);
    }
    let view = state.view();
    let outcomes: Vec<_> = view.steps[&StepKey::top(1)].calls.values().map(|call| call.outcome.clone().unwrap()).collect();
    assert!(outcomes[0].0.contains(r#""x":1"#), "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, is_error)| !is_error));
    let told = bench.model.received()[1].body()["messages"].as_array().unwrap().len();
    assert_eq!(told, 1 + 1 + 3);
}

#[tokio::test]
async fn a_denied_call_does_not_run_and_the_model_hears_why() {
    let mut bench = Bench::new().await;
    bench.mesh.state().denied.insert("echo".into());
    bench.assign(Assignment::of("tool:echo{}").tool(http_tool("echo", bench.tool_url("echo"), true)));
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!(bench.model.effects_total(), 0);
    assert_eq!(kinds(&bench.mesh.state()), ["step"]);
    let second = bench.model.received()[1].body().to_string();
    assert!(second.contains("the policy denies it"), "{second}");
    let view = bench.mesh.state().view();
    assert_eq!(view.steps[&StepKey::top(1)].calls[&0].outcome, Some(("the policy denies it".into(), true)));
}

#[tokio::test]
async fn an_overloaded_model_is_asked_again() {
    let bench = Bench::with(Assignment::of("fail:503 hello")).await;
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    let state = bench.mesh.state();
    let retries = state.log.iter().filter(|event| matches!(event, Event::ModelRetrying { attempt: 2, .. })).count();
    assert_eq!((retries, bench.model.calls()), (1, 2));
    assert_eq!(state.log.iter().filter(|event| matches!(event, Event::StepStarted { .. })).count(), 1);
}

#[tokio::test]
async fn a_model_that_stays_away_fails_the_run() {
    let bench = Bench::with(Assignment::of("fail:503* hello")).await;
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "MODEL_UNAVAILABLE"));
    assert!(finish.detail.contains("503"), "{}", finish.detail);
    assert_eq!(bench.model.calls(), 3);
}

#[tokio::test]
async fn a_model_that_refuses_is_not_asked_again() {
    let bench = Bench::with(Assignment::of("fail:401* hello")).await;
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "MODEL_REJECTED"));
    assert_eq!(bench.model.calls(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_is_retracted_and_told_anew() {
    let bench = Bench::with(Assignment::of("cut:3 slow:6x1")).await;
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    let state = bench.mesh.state();
    assert!(state.log.iter().any(|event| matches!(event, Event::StepRetracted { step: StepKey { step_index: 1, .. }, .. })));
    assert_eq!(log_text(&state), text_of(&finish));
    assert_eq!(text_of(&finish).matches("chunk-0").count(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_long_fails_and_is_kept() {
    let bench = Bench::with(Assignment::of("many:3 len")).await;
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "LENGTH"));
    assert!(text_of(&finish).contains("chunk-2"));
}

#[tokio::test]
async fn the_step_limit_ends_a_run_before_its_calls() {
    let mut bench = Bench::new().await;
    let mut assignment = Assignment::of("tool:echo{}").tool(http_tool("echo", bench.tool_url("echo"), false));
    assignment.agent.limits.max_steps = 1;
    bench.assign(assignment);
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "STEP_LIMIT"));
    assert!(matches!(last_step(&finish).parts[..], [Part::ToolCall { .. }]));
    assert_eq!(bench.model.effects_total(), 0);
}

#[tokio::test]
async fn an_outage_of_the_mesh_only_delays() {
    let mut bench = Bench::new().await;
    bench.mesh.state().outages = 3;
    bench.assign(Assignment::of("tool:echo{}").tool(http_tool("echo", bench.tool_url("echo"), false)));
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!(bench.model.effects_total(), 1);
}

#[tokio::test]
async fn usage_is_journaled() {
    let bench = Bench::with(Assignment::of("many:3 usage")).await;
    let finish = bench.mesh.finished().await;
    assert!(last_step(&finish).usage.output_tokens > 0);
}
