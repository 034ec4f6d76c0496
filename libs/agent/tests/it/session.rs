//! Cancels, fences, lost sessions and drains.

use crate::fake::State;
use crate::harness::{Assignment, Bench, http_tool, run_id};
use crate::runs::last_step;
use runmesh_domain::event::Event;
use runmesh_domain::id::RunId;
use runmesh_domain::message::plain_text;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::finish_request::Outcome;
use runmesh_wire::pb::worker::journal_entry::Entry;
use std::time::{Duration, Instant};

fn speaks(state: &State) -> bool {
    state.log.iter().any(|event| matches!(event, Event::TextDelta { .. }))
}

#[tokio::test]
async fn a_cancel_keeps_what_was_said() {
    let bench = Bench::with(Assignment::of("slow:10000x5")).await;
    bench.mesh.until("the run speaks", speaks).await;
    let asked = Instant::now();
    bench.mesh.state().cancel.insert(run_id().to_string());
    bench.hints.as_ref().unwrap().cancel(run_id());
    let finish = bench.mesh.finished().await;
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!((finish.outcome(), finish.last_step_unfinished), (Outcome::Canceled, true));
    assert_eq!(bench.mesh.state().view().text(), plain_text(&last_step(&finish).parts));
}

#[tokio::test]
async fn a_cancel_stops_tools() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("tool:slow{}").tool(http_tool("slow", bench.tool_url("slow/60000"), false)));
    bench.start();
    bench.mesh.until("the call is dispatched", |state| state.recorded.len() == 2).await;
    bench.mesh.state().cancel.insert(run_id().to_string());
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.last_step.is_none()), (Outcome::Canceled, true));
}

#[tokio::test]
async fn a_run_that_is_canceled_before_it_begins_calls_no_model() {
    let mut assignment = Assignment::of("hello");
    assignment.cancel_requested = true;
    let bench = Bench::with(assignment).await;
    assert_eq!(bench.mesh.finished().await.outcome(), Outcome::Canceled);
    assert_eq!(bench.model.calls(), 0);
}

#[tokio::test]
async fn a_fenced_attempt_writes_nothing_more() {
    let mut bench = Bench::new().await;
    bench.mesh.state().fenced = true;
    bench.assign(Assignment::of("tool:echo{}").tool(http_tool("echo", bench.tool_url("echo"), false)));
    bench.start();
    let named = |state: &State, wanted: bool| state.heartbeats.last().is_some_and(|beat| beat.held.is_empty() != wanted);
    bench.mesh.until("the model was called", |_| bench.model.calls() == 1).await;
    bench.mesh.until("the run is dropped", |state| named(state, false)).await;
    bench.mesh.until("its credit is given back", |state| state.credits == 2).await;
    let state = bench.mesh.state();
    assert!(state.finishes.is_empty() && state.releases.is_empty() && state.recorded.is_empty());
    assert_eq!(bench.model.effects_total(), 0);
}

#[tokio::test]
async fn a_lost_session_drops_its_runs_and_the_next_has_nothing_in_hand() {
    let bench = Bench::with(Assignment::of("slow:10000x5")).await;
    bench.mesh.until("the run speaks", speaks).await;
    bench.mesh.state().lost_sessions = 1;
    bench.mesh.until("a new session is open", |state| state.hellos.len() == 2).await;
    bench.mesh.until("it beats", |state| state.heartbeats.last().is_some_and(|beat| beat.session_id == "ses_1")).await;
    let state = bench.mesh.state();
    assert_eq!(state.hellos[1].session_id, "");
    assert!(state.heartbeats.last().unwrap().held.is_empty());
    assert!(state.finishes.is_empty());
}

#[tokio::test]
async fn a_worker_stops_by_its_own_clock_when_nobody_answers() {
    let mut bench = Bench::new().await;
    {
        let mut state = bench.mesh.state();
        state.lease = Duration::from_millis(1_000);
        state.heartbeat = Duration::from_millis(100);
    }
    bench.assign(Assignment::of("slow:10000x5"));
    bench.start();
    bench.mesh.until("the run speaks", speaks).await;
    let silent = Instant::now();
    bench.mesh.state().mute = true;
    bench.mesh.until("a new session is open", |state| state.hellos.len() == 2).await;
    assert!(silent.elapsed() < Duration::from_millis(3_000), "{:?}", silent.elapsed());
    let before = bench.mesh.state().log.len();
    bench.mesh.state().mute = false;
    bench.mesh.until("it beats", |state| state.heartbeats.last().is_some_and(|beat| beat.session_id == "ses_1")).await;
    assert_eq!(bench.mesh.state().log.len(), before, "the dropped run says nothing more");
}

/// An assignment of a newer version: this worker does not know what its spec holds, or what is in its context.
fn unreadable(number: i64) -> pb::Assignment {
    let mut assignment = Assignment::of("hello").into_wire();
    let run_id = RunId::derived(&[&number.to_be_bytes()]).to_string();
    assignment.lease = Some(pb::Lease { run_id, fence: number });
    assignment
}

#[tokio::test]
async fn what_a_worker_cannot_read_is_released_at_once() {
    let mut bench = Bench::new().await;
    let (mut spec, mut paged, mut token) = (unreadable(1), unreadable(2), unreadable(3));
    spec.spec.as_mut().unwrap().agent_id = "from a newer version".into();
    let mut page = paged.context.take().unwrap();
    page.messages[0].role = 77;
    token.context.as_mut().unwrap().messages[0].role = 77;
    {
        let mut state = bench.mesh.state();
        state.pages.insert(String::new(), page);
        state.assignments.extend([spec, paged, token]);
    }
    bench.start();
    bench.mesh.until("all are released", |state| state.releases.len() == 3).await;
    bench.mesh.until("each gave its credit back", |state| state.credits == 2).await;
    let state = bench.mesh.state();
    let mut fences: Vec<_> = state.releases.iter().map(|release| release.lease.as_ref().unwrap().fence).collect();
    fences.sort_unstable();
    assert_eq!(fences, [1, 2, 3]);
    assert!(state.releases.iter().all(|release| release.acked.is_none()), "the log stays where it was");
    assert!(state.finishes.is_empty() && state.recorded.is_empty());
    assert_eq!(state.metadata.0, "Bearer run-token");
    assert_eq!(bench.model.calls(), 0);
}

#[tokio::test]
async fn a_drain_gives_runs_back_at_once() {
    let mut bench = Bench::with(Assignment::of("slow:10000x5")).await;
    bench.mesh.until("the run speaks", speaks).await;
    bench.drain.cancel();
    bench.worker.take().unwrap().await.unwrap().unwrap();
    let state = bench.mesh.state();
    assert_eq!((state.releases.len(), state.finishes.len()), (1, 0));
}

#[tokio::test]
async fn a_drain_waits_for_calls_that_may_not_be_repeated() {
    let mut bench = Bench::new().await;
    let text = "tool:once{} tool:again{}";
    let once = http_tool("once", bench.tool_url("slow/400"), false);
    let again = http_tool("again", bench.tool_url("slow/60000"), true);
    bench.assign(Assignment::of(text).tool(once).tool(again));
    bench.start();
    bench.mesh.until("both calls arrived", |_| bench.model.effects_total() == 2).await;
    bench.drain.cancel();
    bench.worker.take().unwrap().await.unwrap().unwrap();
    let state = bench.mesh.state();
    let done: Vec<_> = state
        .entries()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::CallDone(done) => Some(done.call_index),
            Entry::ModelStep(_) | Entry::CallDispatched(_) => None,
        })
        .collect();
    assert_eq!(done, [0]);
    assert_eq!(state.releases.len(), 1);
}

#[tokio::test]
async fn credits_come_back_one_for_each_run() {
    let bench = Bench::with(Assignment::of("many:1")).await;
    bench.mesh.finished().await;
    bench.mesh.until("the credit is back", |state| state.credits == 2).await;
    assert_eq!(bench.mesh.state().hellos[0].capacity, 2);
}

#[tokio::test]
async fn what_a_draining_replica_had_assigned_is_driven() {
    for hellos in [1, 2] {
        let bench = Bench::with(Assignment::of("many:1")).await;
        bench.mesh.finished().await;
        bench.mesh.until("the credit is back", |state| state.credits == 2).await;
        let mut late = Assignment::of("many:2").into_wire();
        late.lease.as_mut().unwrap().fence = 2;
        bench.mesh.state().drain = Some((hellos, late));
        bench.mesh.until("the worker moved", |state| state.hellos.len() == 2).await;
        bench.mesh.until("the late run is finished", |state| state.finishes.len() == 2).await;
        bench.mesh.until("all credits are there", |state| state.credits == 2).await;
        let state = bench.mesh.state();
        assert_eq!(state.hellos.len(), 2, "moved once");
        assert_eq!(state.hellos[1].session_id, "ses_0", "in the same session");
    }
}
