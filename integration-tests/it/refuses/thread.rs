//! ThreadService.

use super::{Case, Known, NOT_FOUND, UNKNOWN_AGENT, UNKNOWN_THREAD, but, case, check, check_all, ids, invalid, keys, no, pages};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::json;
use tonic::Code;

pub(super) fn cases(known: &Known) -> Vec<Case> {
    let thread = &known.thread;
    let create = json!({"idempotency_key": "k"});
    let mut cases = keys("CreateThread", &create);
    cases.extend([
        case("CreateThread", "a long title", but(&create, "title", json!("t".repeat(201))), invalid("title")),
        case("CreateThread", "NUL in the title", but(&create, "title", json!("\0")), invalid("title")),
        case("CreateThread", "a long agent", but(&create, "agent", json!("a".repeat(65))), invalid("agent")),
        case("CreateThread", "an unknown agent", but(&create, "agent", json!("nobody")), NOT_FOUND),
        case("CreateThread", "an unknown agent's id", but(&create, "agent", json!(UNKNOWN_AGENT)), NOT_FOUND),
    ]);
    let update = json!({"idempotency_key": "k", "thread_id": thread, "title": "t"});
    cases.extend(keys("UpdateThread", &update));
    cases.extend(ids("UpdateThread", &update, "thread_id", UNKNOWN_THREAD));
    cases.extend([
        case("UpdateThread", "no title", but(&update, "title", json!(" ")), invalid("title")),
        case("UpdateThread", "a long title", but(&update, "title", json!("t".repeat(201))), invalid("title")),
    ]);
    let delete = json!({"idempotency_key": "k", "thread_id": thread});
    cases.extend(keys("DeleteThread", &delete));
    cases.extend(ids("DeleteThread", &delete, "thread_id", UNKNOWN_THREAD));
    cases.extend(ids("GetThread", &json!({}), "thread_id", UNKNOWN_THREAD));
    cases.extend(ids("ListMessages", &json!({}), "thread_id", UNKNOWN_THREAD));
    cases.extend(pages("ListMessages", &json!({"thread_id": thread})));
    cases.extend(pages("ListThreads", &json!({})));
    cases.push(case("ListThreads", "no agent's id", json!({"agent_id": "default"}), invalid("agent_id")));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads() {
    let mesh = small().without_workers().start().await;
    let api = Api::of(&mesh);
    let known = Known { thread: mesh.thread().await.to_string(), ..Known::default() };
    check_all(&api, cases(&known)).await;

    api.ok("DeleteThread", json!({"idempotency_key": "delete", "thread_id": known.thread})).await;
    check("a deleted thread", &api.refused("GetThread", json!({"thread_id": known.thread})).await, NOT_FOUND);

    let agent = api.ok("CreateAgent", json!({"idempotency_key": "k", "name": "gone", "spec": {}})).await;
    let agent = &agent["agent"]["agent_id"];
    let thread = api.ok("CreateThread", json!({"idempotency_key": "of-gone", "agent": agent})).await;
    api.ok("DeleteAgent", json!({"idempotency_key": "k", "agent": agent})).await;
    let deleted = no(Code::FailedPrecondition, "AGENT_DELETED");
    let opened = api.refused("CreateThread", json!({"idempotency_key": "late", "agent": agent})).await;
    check("a thread with a deleted agent", &opened, deleted);
    let parts = json!([{"text": {"text": "hello"}}]);
    let send = json!({"idempotency_key": "late", "thread_id": thread["thread"]["thread_id"], "parts": parts});
    check("a message to a deleted agent", &api.refused("SendMessage", send).await, deleted);
}
