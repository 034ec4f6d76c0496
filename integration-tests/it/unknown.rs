//! Commits whose answers are lost: whoever asked hears what was done, once.

use crate::harness::{mesh, small};
use crate::rpc::Api;
use crate::session::{Session, credential};
use runmesh_testkit::mesh::Kind;
use runmesh_testkit::until;
use serde_json::{Value, json};
use std::time::Duration;

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

async fn thread(you: &Api) -> String {
    text(&you.ok("CreateThread", json!({"idempotency_key": "t"})).await, "/thread/thread_id")
}

fn message(thread: &str, key: &str) -> Value {
    json!({"idempotency_key": key, "thread_id": thread, "parts": [{"text": {"text": "many:3"}}]})
}

/// R5. The worker is in another process, and polls too seldom to find the run without being woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_commit_was_not_answered_is_accepted_once_and_run() {
    let mesh = mesh().gateways(1).relays(1).workers_apart().lost_commit();
    let mesh = mesh.set(Kind::Orchestrator, "LEASES__POLL_MS", "600000").start().await;
    let you = Api::of(&mesh);
    let thread = thread(&you).await;
    mesh.lost_commit().lose_commit_of("lost-answer");
    let sent = you.ok("SendMessage", message(&thread, "lost-answer")).await;
    assert_eq!(mesh.lost_commit().lost(), 1, "the answer was lost");
    assert_eq!(sent["replayed"], false, "the caller asked once: {sent}");
    let runs = you.ok("ListRuns", json!({"thread_id": thread})).await;
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");
    until("the run is driven", Duration::from_secs(60), || async {
        let run = you.ok("GetRun", json!({"run_id": sent["run_id"]})).await;
        (run["run"]["state"] == "STATE_COMPLETED").then_some(())
    })
    .await;
    let again = you.ok("SendMessage", message(&thread, "lost-answer")).await;
    assert_eq!((&again["run_id"], &again["replayed"]), (&sent["run_id"], &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_says_is_answered_whatever_becomes_of_the_commit() {
    let mesh = small().without_workers().lost_commit().lease_ms(60_000).start().await;
    let you = Api::of(&mesh);
    let thread = thread(&you).await;
    let mut session = Session::open(&mesh, &credential("external")).await;
    let send = async |key: &str| you.ok("SendMessage", message(&thread, key)).await;
    send("1").await;
    let assignment = session.assigned().await;
    let holder = Api::of(&mesh).with_token(&assignment.run_token);
    let lease = assignment.lease.expect("a lease");
    let (run, lease) = (lease.run_id.clone(), json!({"run_id": lease.run_id, "fence": lease.fence}));
    let step = |index: u32, said: &str| json!({"step_index": index, "result": {"parts": [{"text": {"text": said}}], "model": "mock", "finish_reason": "stop"}});
    mesh.lost_commit().lose_commit_of("first-step");
    holder.ok("RecordStep", json!({"lease": lease, "entries": [{"model_step": step(1, "first-step")}]})).await;
    assert_eq!(mesh.lost_commit().lost(), 1);
    mesh.lost_commit().lose_commit_of("last-step");
    let finish = json!({"lease": lease, "outcome": "OUTCOME_COMPLETED", "last_step": step(2, "last-step")});
    let finished = holder.ok("Finish", finish).await;
    assert_eq!((mesh.lost_commit().lost(), &finished["run"]["state"]), (2, &json!("STATE_COMPLETED")), "{finished}");
    let history = you.ok("GetRunHistory", json!({"run_id": run, "include_steps": true})).await;
    assert_eq!(history["steps"].as_array().map(Vec::len), Some(2), "each step once: {history}");
    let ends = history["transitions"].as_array().expect("transitions").iter().filter(|one| one["to"] == "STATE_COMPLETED");
    assert_eq!(ends.count(), 1, "R2: {history}");
}
