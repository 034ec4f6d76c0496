//! RunService.

use super::{Case, Known, UNKNOWN_RUN, UNKNOWN_THREAD, but, case, check, check_all, ids, invalid, keys, no, pages};
use crate::harness::small;
use crate::rpc::Api;
use runmesh_testkit::mesh::Kind;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

fn text(text: &str) -> Value {
    json!({"text": {"text": text}})
}

fn send(known: &Known) -> Vec<Case> {
    let good = json!({"idempotency_key": "k", "thread_id": known.thread, "parts": [text("a")]});
    let parts = |parts: Value| but(&good, "parts", parts);
    let call = json!({"tool_call": {"call_id": "c", "name": "n", "arguments_json": "{}"}});
    let mut cases = keys("SendMessage", &good);
    cases.extend(ids("SendMessage", &good, "thread_id", UNKNOWN_THREAD));
    cases.extend([
        case("SendMessage", "no parts", parts(json!([])), invalid("parts")),
        case("SendMessage", "a part without content", parts(json!([{}])), invalid("parts[0]")),
        case("SendMessage", "the agent's words", parts(json!([text("a"), call])), invalid("parts[1]")),
        case("SendMessage", "empty text", parts(json!([text("  ")])), invalid("parts")),
        case("SendMessage", "NUL", parts(json!([text("a"), text("a\0")])), invalid("parts[1].text")),
        case("SendMessage", "too much text", parts(json!([text(&"a".repeat((1 << 20) + 1))])), invalid("parts")),
        case("SendMessage", "too many parts", parts(json!(vec![text("a"); 65])), invalid("parts")),
        case("SendMessage", "a later version's enum", but(&good, "on_busy", json!(99)), invalid("on_busy")),
    ]);
    cases
}

pub(super) fn cases(known: &Known) -> Vec<Case> {
    let mut cases = send(known);
    let cancel = json!({"idempotency_key": "k", "run_id": known.run});
    cases.extend(keys("CancelRun", &cancel));
    cases.extend(ids("CancelRun", &cancel, "run_id", UNKNOWN_RUN));
    cases.extend(ids("GetRun", &json!({}), "run_id", UNKNOWN_RUN));
    cases.extend(ids("GetRunHistory", &json!({"include_steps": true}), "run_id", UNKNOWN_RUN));
    cases.extend(ids("ListQueue", &json!({}), "thread_id", UNKNOWN_THREAD));
    cases.extend(pages("ListRuns", &json!({})));
    cases.extend(pages("GetRunHistory", &json!({"run_id": known.run, "include_steps": true})));
    cases.extend([
        case("ListRuns", "no thread's id", json!({"thread_id": "thr_>"}), invalid("thread_id")),
        case("ListRuns", "a state of no run", json!({"states": [0]}), invalid("states")),
        case("ListRuns", "a later version's state", json!({"states": [99]}), invalid("states")),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs() {
    let mesh = small().without_workers().start().await;
    let run = mesh.send("many:1").await;
    let known = Known { thread: run.thread.to_string(), run: run.id.to_string(), ..Known::default() };
    let api = Api::of(&mesh);
    check_all(&api, cases(&known)).await;

    let reject = json!({
        "idempotency_key": "r", "thread_id": known.thread, "parts": [text("a")], "on_busy": "ON_BUSY_REJECT",
    });
    let busy = api.refused("SendMessage", reject).await;
    check("a busy thread", &busy, no(Code::FailedPrecondition, "THREAD_BUSY"));
    let info = busy.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.metadata.get("run_id"), Some(&known.run), "the run in the way is named");
    let queued = api.ok("ListQueue", json!({"thread_id": known.thread})).await;
    assert_eq!(queued["runs"].as_array().map(Vec::len), Some(1), "what was refused left nothing: {queued}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_without_a_model_and_with_a_short_queue() {
    let builder = small().without_workers().set(Kind::Orchestrator, "DEFAULT_MODEL", "");
    let mesh = builder.set(Kind::Orchestrator, "QUEUES__QUEUED_PER_THREAD_MAX", "1").start().await;
    let api = Api::of(&mesh);
    let thread = mesh.thread().await.to_string();
    let send = |key: &str, thread: &Value| json!({"idempotency_key": key, "thread_id": thread, "parts": [text("a")]});
    let refused = api.refused("SendMessage", send("k", &json!(thread))).await;
    check("nobody names a model", &refused, no(Code::FailedPrecondition, "MODEL_NOT_CONFIGURED"));

    api.ok("CreateAgent", json!({"idempotency_key": "k", "name": "modelled", "spec": {"model": "mock"}})).await;
    let thread = api.ok("CreateThread", json!({"idempotency_key": "k", "agent": "modelled"})).await;
    let thread = &thread["thread"]["thread_id"];
    api.ok("SendMessage", send("1", thread)).await;
    api.ok("SendMessage", send("2", thread)).await;
    let full = api.refused("SendMessage", send("3", thread)).await;
    check("a full queue", &full, no(Code::ResourceExhausted, "QUEUE_LIMIT"));
    let retry = full.get_details_retry_info().and_then(|info| info.retry_delay).expect("when to try again");
    assert!(!retry.is_zero(), "{full:?}");
}
