//! Attempts that go on from a journal.

use crate::harness::{Assignment, Bench, http_tool, run_id};
use runmesh_domain::Timestamp;
use runmesh_domain::event::Event;
use runmesh_domain::id::MessageId;
use runmesh_domain::journal::{Call, CallState, ModelStep, Step, call_key};
use runmesh_domain::message::Part;
use runmesh_domain::path::{Path, StepKey};
use runmesh_domain::policy::Verdict;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::journal::Context;
use runmesh_wire::pb::worker::finish_request::Outcome;
use runmesh_wire::pb::worker::journal_entry::Entry;

fn step(calls: &[CallState]) -> Step {
    let asked = |index: usize| Part::tool_call(format!("c{index}"), "echo", format!(r#"{{"n":{index}}}"#));
    let call = |(index, state): (usize, &CallState)| {
        let call_index = u32::try_from(index).unwrap();
        Call {
            call_index,
            call_id: format!("c{index}"),
            name: "echo".into(),
            arguments: format!(r#"{{"n":{index}}}"#),
            state: *state,
            verdict: Verdict::Allow,
            idempotent: false,
            idempotency_key: call_key(run_id(), &1.into(), call_index),
            content: if state.is_over() { "known result".into() } else { String::new() },
        }
    };
    let result =
        ModelStep { parts: (0..calls.len()).map(asked).collect(), finish_reason: "tool_calls".into(), ..ModelStep::default() };
    Step {
        path: Path::TOP,
        step_index: 1,
        fence: 1,
        result,
        calls: calls.iter().enumerate().map(call).collect(),
        created_at: Timestamp::from_micros(0),
    }
}

async fn resumed(calls: &[CallState], idempotent: bool, prepare: impl FnOnce(&Bench)) -> Bench {
    let mut bench = Bench::new().await;
    let mut assignment = Assignment::of("hello").tool(http_tool("echo", bench.tool_url("echo"), idempotent));
    assignment.steps = vec![step(calls)];
    bench.assign(assignment);
    prepare(&bench);
    bench.start();
    bench
}

#[tokio::test]
async fn what_is_done_is_not_done_again() {
    let bench = resumed(&[CallState::Done, CallState::Reserved], false, |_| {}).await;
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!(bench.model.effects(&call_key(run_id(), &1.into(), 0)), 0);
    assert_eq!(bench.model.effects(&call_key(run_id(), &1.into(), 1)), 1);
    assert_eq!(bench.model.calls(), 1);
    let prompt = bench.model.received()[0].body().to_string();
    assert!(prompt.contains("known result"), "{prompt}");
}

#[tokio::test]
async fn branches_of_the_journal_are_left_to_the_calls_that_opened_them() {
    let mut bench = Bench::new().await;
    let mut assignment = Assignment::of("hello").tool(http_tool("echo", bench.tool_url("echo"), true));
    let (top, mut inner) = (step(&[CallState::Done]), step(&[CallState::Reserved]));
    inner.path = top.key().call(0).branch().unwrap();
    inner.result.parts.push(Part::text("said in a branch"));
    assignment.steps = vec![top, inner];
    bench.assign(assignment);
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    assert_eq!(finish.last_step.map(|step| (step.step_index, step.path)), Some((2, String::new())));
    assert_eq!(bench.model.effects(&call_key(run_id(), &1.into(), 0)), 0);
    let prompt = bench.model.received()[0].body().to_string();
    assert!(prompt.contains("known result") && !prompt.contains("said in a branch"), "{prompt}");
}

#[tokio::test]
async fn a_call_in_flight_that_may_be_repeated_is_repeated_under_its_key() {
    let bench = resumed(&[CallState::Dispatched], true, |_| {}).await;
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!(bench.model.effects(&call_key(run_id(), &1.into(), 0)), 1);
    let state = bench.mesh.state();
    assert!(matches!(state.recorded[0][..], [Entry::CallDispatched(_)]), "dispatched anew under this attempt");
}

#[tokio::test]
async fn a_call_in_flight_that_may_not_be_repeated_is_not_made() {
    let bench = resumed(&[CallState::Dispatched, CallState::Reserved], false, |_| {}).await;
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "OUTCOME_UNKNOWN"));
    assert!(finish.detail.contains("echo"), "{}", finish.detail);
    assert_eq!(bench.model.effects_total(), 0);
}

#[tokio::test]
async fn what_a_lost_attempt_left_open_in_the_log_is_settled_first() {
    let bench = resumed(&[CallState::Done, CallState::Done], false, |bench| {
        let mut state = bench.mesh.state();
        state.open_steps = vec![2];
        state.open_calls = vec![(1, 1)];
    })
    .await;
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    let state = bench.mesh.state();
    assert_eq!(state.log[0], Event::StepRetracted { step: 2.into(), reason: "attempt lost".into() });
    let result = Event::ToolCallFinished { step: 1.into(), call_index: 1, content: "known result".into(), is_error: false };
    assert_eq!(state.log[1], result);
    assert!(matches!(state.log[2], Event::StepStarted { step: StepKey { step_index: 2, .. }, .. }));
}

#[tokio::test]
async fn a_context_of_several_pages_is_read_whole() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("hello").tool(http_tool("echo", bench.tool_url("echo"), true)));
    let later = Context { steps: vec![step(&[CallState::Done])], ..Context::default() };
    {
        let mut state = bench.mesh.state();
        state.assignments[0].context.as_mut().unwrap().next_page_token = "2".into();
        state.pages.insert("2".into(), Context { next_page_token: "3".into(), ..Context::default() }.into_wire());
        state.pages.insert("3".into(), later.into_wire());
    }
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    let prompt = bench.model.received()[0].body().to_string();
    assert!(prompt.contains("hello") && prompt.contains("known result"), "{prompt}");
}

#[tokio::test]
async fn a_context_that_did_not_come_along_is_asked_for() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("hello").tool(http_tool("echo", bench.tool_url("echo"), true)));
    {
        let mut state = bench.mesh.state();
        let mut first = state.assignments[0].context.take().unwrap();
        first.next_page_token = "2".into();
        let second = Context { steps: vec![step(&[CallState::Done])], ..Context::default() };
        state.pages.insert(String::new(), first);
        state.pages.insert("2".into(), second.into_wire());
    }
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!(bench.model.calls(), 1, "the journaled step was not done again");
    let prompt = bench.model.received()[0].body().to_string();
    assert!(prompt.contains("hello") && prompt.contains("known result"), "{prompt}");
}

#[tokio::test]
async fn a_message_and_a_step_go_on_on_the_next_page() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("").tool(http_tool("echo", bench.tool_url("echo"), true)));
    let whole = step(&[CallState::Done, CallState::Done]);
    let with_call = |index: usize, content: &str| {
        let mut calls = vec![whole.calls[index].clone()];
        content.clone_into(&mut calls[0].content);
        Context { steps: vec![Step { calls, ..whole.clone() }], ..Context::default() }
    };
    {
        let mut state = bench.mesh.state();
        let first = state.assignments[0].context.take().unwrap();
        let page = |text: &str, next: &str| {
            let mut page = first.clone();
            page.messages[0].parts = vec![Part::text(text).into_wire()];
            page.next_page_token = next.into();
            page
        };
        let begun = Context { next_page_token: "c".into(), ..with_call(0, "result of the first") };
        state.pages.insert(String::new(), begun.into_wire());
        let ended = Context { next_page_token: "m".into(), ..with_call(1, "result of the second") };
        state.pages.insert("c".into(), ended.into_wire());
        state.pages.insert("m".into(), page("the second part", "n"));
        state.pages.insert("n".into(), page("the first part", ""));
    }
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    assert_eq!((bench.model.calls(), bench.model.effects_total()), (1, 0), "nothing is done again");
    let prompt = bench.model.received()[0].body()["messages"].clone();
    let of_role = |role: &str| prompt.as_array().unwrap().iter().filter(|said| said["role"] == role).count();
    assert_eq!((of_role("user"), of_role("assistant"), of_role("tool")), (1, 1, 2), "{prompt}");
    for part in ["the first part", "the second part", "result of the first", "result of the second"] {
        assert!(prompt.to_string().contains(part), "{prompt}");
    }
}

#[tokio::test]
async fn a_long_thread_is_read_back_until_the_window_is_full() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("now").window(1_000));
    {
        let mut state = bench.mesh.state();
        let mut first = state.assignments[0].context.take().unwrap();
        let own = first.messages[0].clone();
        let page = |turn_number: i64, text: &str, next: &str| {
            let mut page = first.clone();
            page.messages[0].message_id = MessageId::derived(&[text.as_bytes()]).to_string();
            page.messages[0].turn_number = turn_number;
            page.messages[0].parts = vec![Part::text(text.repeat(100)).into_wire()];
            page.next_page_token = next.into();
            page
        };
        let (second, third) = (page(7, "as before ", "3"), page(6, "too much ".repeat(10).as_str(), "4"));
        let fourth = page(5, "longer ago ", "5");
        state.pages.insert("2".into(), second);
        state.pages.insert("3".into(), third);
        // Read, because the oldest message before it may have been the end of a long one. The token of a fifth is nobody's.
        state.pages.insert("4".into(), fourth);
        first.messages = vec![own];
        first.messages[0].turn_number = 8;
        first.next_page_token = "2".into();
        state.assignments[0].context = Some(first);
    }
    bench.start();
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Completed);
    let prompt = bench.model.received()[0].body()["messages"].to_string();
    let (before, now) = (prompt.find("as before").unwrap(), prompt.find("now").unwrap());
    assert!(before < now && !prompt.contains("too much") && !prompt.contains("longer ago"), "{prompt}");
}

#[tokio::test]
async fn a_run_whose_context_is_refused_fails_and_says_so() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("hello"));
    bench.mesh.state().assignments[0].context = None;
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "CONTEXT_REFUSED"));
    assert_eq!(bench.model.calls(), 0);
}
