//! The thread gate: one turn at a time, in the order accepted.

use crate::harness::mesh;
use runmesh_client::{OnBusy, Paging, RunFilter, SendOptions};
use runmesh_domain::{Reason, Timestamp, invariants};
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::run::run::State;
use std::time::Duration;

/// When the run ran, by its transitions.
fn running_interval(history: &runmesh_wire::pb::run::GetRunHistoryResponse) -> (u64, Timestamp, Timestamp) {
    let turn = history.run.as_ref().expect("the run").turn_number;
    let at = |wanted: State| {
        let transition = history.transitions.iter().find(|transition| transition.to() == wanted).expect("the transition");
        transition.time.expect("its time").from_wire("time").expect("a time")
    };
    (u64::try_from(turn).expect("a number"), at(State::Running), at(State::Completed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_senders_on_one_thread_get_a_hundred_turns_in_order() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let sends = (0..100).map(|n| {
        let client = mesh.client(n % 2);
        async move { client.send(thread, format!("many:2 #{n}"), SendOptions::default()).await.expect("accepted") }
    });
    let sent = futures::future::join_all(sends).await;
    let mut turns: Vec<_> = sent.iter().map(|sent| sent.turn_number).collect();
    turns.sort_unstable();
    assert_eq!(turns, (1..=100).collect::<Vec<_>>(), "every turn number once");

    let client = mesh.client(0);
    let filter =
        RunFilter { thread: Some(thread), states: vec![runmesh_domain::run::StateName::Completed], ..RunFilter::default() };
    runmesh_testkit::until("all turns are done", Duration::from_secs(120), || async {
        let done = client.list_runs(&filter, Paging { size: 1_000, ..Paging::default() }).await.ok()?;
        (done.items.len() == 100).then_some(())
    })
    .await;
    let mut intervals = Vec::new();
    for sent in &sent {
        intervals.push(running_interval(&client.history(sent.run, false).await.expect("history")));
    }
    invariants::check_turns(&intervals).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_thread_can_refuse_and_shows_its_queue() {
    let mesh = mesh().start().await;
    let first = mesh.send("slow:50x100").await;
    let second = mesh.send_on(first.thread, "hello").await;
    let client = mesh.client(1);
    let reject = SendOptions { on_busy: OnBusy::Reject, ..SendOptions::default() };
    let refused = client.send(first.thread, "now or never", reject).await.expect_err("a refusal");
    assert_eq!(refused.reason(), Some(Reason::ThreadBusy));
    let queue: Vec<_> = client.list_queue(first.thread).await.expect("the queue").into_iter().map(|run| run.run_id).collect();
    assert_eq!(queue, [first.id.to_string(), second.id.to_string()]);

    // A queued turn can be canceled on its own; the holder goes on.
    let canceled = client.cancel_run(second.id).await.expect("canceled");
    assert_eq!(canceled.state(), State::Canceled);
    client.cancel_run(first.id).await.expect("a cancel");
    assert_eq!(mesh.ended(&first).await.state(), State::Canceled);
}
