//! What the holder of a lease may get wrong: the tables, and the story of an attempt that repeats itself, goes on too long,
//! or loses its lease.

use super::worker::worker;
use super::{
    Case, FENCED, Known, RUN_FINISHED, STEP_CONFLICT, TOKEN_MISMATCH, UNKNOWN_RUN, but, case, check, check_all, invalid, no,
};
use crate::harness::small;
use crate::rpc::Api;
use crate::session::{Session, credential};
use runmesh_testkit::mesh::Mesh;
use runmesh_testkit::until;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;

const CALL_NOT_ALLOWED: super::Want = no(Code::FailedPrecondition, "CALL_NOT_ALLOWED");

fn step(index: u32, text: &str) -> Value {
    let result = json!({"parts": [{"text": {"text": text}}], "model": "mock", "finish_reason": "stop"});
    json!({"step_index": index, "result": result})
}

/// Waits for a run: calls under its lease, and what there is to know of it.
async fn attempt(mesh: &Mesh, session: &mut Session) -> (Api, Known) {
    let assignment = session.assigned().await;
    let lease = assignment.lease.expect("a lease");
    let known = Known { run: lease.run_id, fence: lease.fence, ..Known::default() };
    (Api::of(mesh).with_token(&assignment.run_token), known)
}

/// The rows that every method under a lease has.
fn leases(method: &'static str, known: &Known, good: &Value) -> Vec<Case> {
    let lease = |run: &str, fence: i64| but(good, "lease", json!({"run_id": run, "fence": fence}));
    let mut none = good.clone();
    none.as_object_mut().expect("an object").remove("lease");
    vec![
        case(method, "no lease", none, invalid("lease")),
        case(method, "a lease of no run", lease("run_>", known.fence), invalid("lease.run_id")),
        case(method, "a negative fence", lease(&known.run, -1), invalid("lease.fence")),
        case(method, "another run", lease(UNKNOWN_RUN, known.fence), TOKEN_MISMATCH),
        case(method, "another fence", lease(&known.run, known.fence + 1), TOKEN_MISMATCH),
    ]
}

fn records(known: &Known, lease: &Value) -> Vec<Case> {
    let entries = |entries: Value| json!({"lease": lease, "entries": entries});
    let with = |field: &str, value: Value| {
        let result = but(&step(1, "a")["result"], field, value);
        entries(json!([{"model_step": {"step_index": 1, "result": result}}]))
    };
    let done = |content: &str| json!([{"call_done": {"step_index": 1, "call_index": 0, "content": content}}]);
    let dispatched = json!([{"call_dispatched": {"step_index": 1, "call_index": 0}}]);
    let tool_result = json!([{"tool_result": {"call_id": "c", "name": "n", "content": "x"}}]);
    let calls = vec![json!({"tool_call": {"call_id": "c", "name": "n", "arguments_json": "{}"}}); 129];
    let many = vec![json!({"model_step": step(1, "a")}); 129];
    let good = entries(json!([{"model_step": step(1, "a")}]));
    let mut cases = leases("RecordStep", known, &good);
    let more = [
        ("nothing", entries(json!([])), invalid("entries")),
        ("too much", entries(json!(many)), invalid("entries")),
        ("an empty entry", entries(json!([{}])), invalid("entries[0]")),
        ("no result", entries(json!([{"model_step": {"step_index": 1}}])), invalid("entries[0].model_step.result")),
        ("NUL in the model", with("model", json!("\0")), invalid("entries[0].model_step.result.model")),
        ("NUL in the finish reason", with("finish_reason", json!("\0")), invalid("entries[0].model_step.result.finish_reason")),
        ("NUL in the text", with("parts", json!([{"text": {"text": "\0"}}])), invalid("entries[0].model_step")),
        ("a tool's result", with("parts", tool_result), invalid("entries[0].model_step")),
        ("many calls", with("parts", json!(calls)), invalid("entries[0].model_step.result.parts")),
        ("a long result", entries(done(&"r".repeat((1 << 20) + 1))), invalid("entries[0].call_done.content")),
        ("NUL in a result", entries(done("\0")), invalid("entries[0].call_done.content")),
        ("a negative position", but(&good, "acked", json!({"seq": -1})), invalid("acked.seq")),
        ("a later step first", entries(json!([{"model_step": step(5, "a")}])), STEP_CONFLICT),
        ("a step before the first", entries(json!([{"model_step": step(0, "a")}])), STEP_CONFLICT),
        (
            "a malformed path",
            entries(json!([{"model_step": but(&step(1, "a"), "path", json!("1"))}])),
            invalid("entries[0].model_step.path"),
        ),
        (
            "a path too deep",
            entries(json!([{"model_step": but(&step(1, "a"), "path", json!("1.0/".repeat(8) + "1.0"))}])),
            invalid("entries[0].model_step.path"),
        ),
        (
            "a malformed path of a call",
            entries(json!([{"call_dispatched": {"step_index": 1, "path": "0.0"}}])),
            invalid("entries[0].call_dispatched.path"),
        ),
        (
            "a malformed path of a result",
            entries(json!([{"call_done": {"step_index": 1, "path": "1.0/"}}])),
            invalid("entries[0].call_done.path"),
        ),
        ("a branch of no call", entries(json!([{"model_step": but(&step(1, "a"), "path", json!("1.0"))}])), STEP_CONFLICT),
        ("a call that nobody asked for", entries(dispatched), STEP_CONFLICT),
        ("the result of none", entries(done("x")), STEP_CONFLICT),
    ];
    cases.extend(more.map(|(what, body, want)| case("RecordStep", what, body, want)));
    cases
}

fn endings(known: &Known, lease: &Value) -> Vec<Case> {
    let good = json!({"lease": lease, "outcome": "OUTCOME_COMPLETED"});
    let failed = |reason: &str, detail: &str| json!({"lease": lease, "outcome": 2, "reason": reason, "detail": detail});
    let last = |step: Value| but(&good, "last_step", step);
    let mut cases = leases("Finish", known, &good);
    let more = [
        ("no outcome", but(&good, "outcome", json!(0)), invalid("outcome")),
        ("a later version's outcome", but(&good, "outcome", json!(99)), invalid("outcome")),
        ("no reason", failed("", ""), invalid("reason")),
        ("a reason in words", failed("went wrong", ""), invalid("reason")),
        ("a long reason", failed(&"R".repeat(65), ""), invalid("reason")),
        ("a long detail", failed("R", &"d".repeat(4_097)), invalid("detail")),
        ("NUL in the detail", failed("R", "\0"), invalid("detail")),
        ("a last step of a branch", last(but(&step(1, "a"), "path", json!("1.0"))), invalid("last_step.path")),
        ("a last step of nothing", last(json!({"step_index": 1})), invalid("last_step.result")),
        ("a negative position", but(&good, "acked", json!({"seq": -1})), invalid("acked.seq")),
        ("a last step that does not follow", last(step(5, "a")), STEP_CONFLICT),
    ];
    cases.extend(more.map(|(what, body, want)| case("Finish", what, body, want)));
    let release = json!({"lease": lease});
    cases.extend(leases("Release", known, &release));
    cases.push(case("Release", "a negative position", but(&release, "acked", json!({"seq": -1})), invalid("acked.seq")));
    cases
}

fn appends(known: &Known) -> Vec<Case> {
    let open = |run: &str, fence: i64| json!({"open": {"lease": {"run_id": run, "fence": fence}}});
    vec![
        case("Append", "nothing said", json!({}), invalid("message")),
        case("Append", "events first", json!({"events": {"first_number": 1}}), invalid("message")),
        case("Append", "no lease", json!({"open": {}}), invalid("open.lease")),
        case("Append", "a lease of no run", open("run_>", known.fence), invalid("open.lease.run_id")),
        case("Append", "another run", open(UNKNOWN_RUN, known.fence), TOKEN_MISMATCH),
        case("Append", "another fence", open(&known.run, known.fence + 1), TOKEN_MISMATCH),
    ]
}

pub(super) fn cases(known: &Known) -> Vec<Case> {
    let lease = json!({"run_id": known.run, "fence": known.fence});
    let context = json!({"lease": lease});
    let mut cases = leases("GetRunContext", known, &context);
    cases.push(case("GetRunContext", "no page token", but(&context, "page_token", json!("nonsense")), invalid("page_token")));
    cases.push(case(
        "GetRunContext",
        "less than nothing wanted",
        but(&context, "wanted_bytes", json!("-1")),
        invalid("wanted_bytes"),
    ));
    cases.extend(records(known, &lease));
    cases.extend(endings(known, &lease));
    cases.extend(appends(known));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders() {
    let mesh = small().without_workers().lease_ms(60_000).start().await;
    let mut session = Session::open(&mesh, &credential("external")).await;
    mesh.send("many:1").await;
    let (api, known) = attempt(&mesh, &mut session).await;
    check_all(&api, cases(&known)).await;
    // Nothing of all that was taken for the attempt's word: it goes on from its first step.
    let lease = json!({"run_id": known.run, "fence": known.fence});
    api.ok("RecordStep", json!({"lease": lease, "entries": [{"model_step": step(1, "a")}]})).await;
}

/// Journals entries under a lease.
struct Journal<'a> {
    api: &'a Api,
    lease: Value,
}

impl Journal<'_> {
    fn body(&self, entry: Value) -> Value {
        json!({"lease": self.lease, "entries": [entry]})
    }

    async fn ok(&self, entry: Value) -> Value {
        self.api.ok("RecordStep", self.body(entry)).await
    }

    async fn refused(&self, what: &str, entry: Value, want: super::Want) {
        check(what, &self.api.refused("RecordStep", self.body(entry)).await, want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_answered_as_the_first_and_other_content_is_not() {
    let mesh = small().without_workers().lease_ms(60_000).start().await;
    let mut session = Session::open(&mesh, &credential("external")).await;
    let user = Api::of(&mesh);
    let denied = json!({"name": "denied", "policy": "POLICY_DENY", "http": {"url": "http://127.0.0.1:9/"}});
    let spec = json!({"tools": [denied, {"name": "current_time", "builtin": {}}]});
    user.ok("CreateAgent", json!({"idempotency_key": "k", "name": "tooled", "spec": spec})).await;
    let thread = user.ok("CreateThread", json!({"idempotency_key": "k", "agent": "tooled"})).await;
    let parts = json!([{"text": {"text": "go"}}]);
    let send = json!({"idempotency_key": "k", "thread_id": thread["thread"]["thread_id"], "parts": parts});
    user.ok("SendMessage", send).await;
    let (api, known) = attempt(&mesh, &mut session).await;
    let journal = Journal { api: &api, lease: json!({"run_id": known.run, "fence": known.fence}) };

    let call = |name: &str| json!({"tool_call": {"call_id": name, "name": name, "arguments_json": "{}"}});
    let asked = json!({"parts": [call("denied"), call("current_time")], "model": "mock", "finish_reason": "tool_calls"});
    let first = json!({"model_step": {"step_index": 1, "result": asked}});
    let verdicts = journal.ok(first.clone()).await;
    let decisions: Vec<_> = verdicts["verdicts"].as_array().into_iter().flatten().map(|verdict| &verdict["decision"]).collect();
    assert_eq!(decisions, ["DECISION_DENY", "DECISION_ALLOW"], "{verdicts}");
    assert_eq!(journal.ok(first.clone()).await, verdicts, "an exact repeat");
    journal.refused("another step under its number", json!({"model_step": step(1, "other")}), STEP_CONFLICT).await;

    let dispatched = |call: u32| json!({"call_dispatched": {"step_index": 1, "call_index": call}});
    let done = |call: u32, content: &str| json!({"call_done": {"step_index": 1, "call_index": call, "content": content}});
    journal.refused("a denied call", dispatched(0), CALL_NOT_ALLOWED).await;
    journal.refused("its result", done(0, "x"), STEP_CONFLICT).await;
    journal.refused("a result before the call", done(1, "x"), STEP_CONFLICT).await;
    for entry in [dispatched(1), dispatched(1), done(1, "x"), done(1, "x")] {
        journal.ok(entry).await;
    }
    journal.refused("another result", done(1, "y"), STEP_CONFLICT).await;

    let finish = |text: &str| json!({"lease": journal.lease, "outcome": "OUTCOME_COMPLETED", "last_step": step(2, text)});
    let finished = api.ok("Finish", finish("done")).await;
    assert_eq!(finished["run"]["state"], "STATE_COMPLETED", "{finished}");
    assert_eq!(api.ok("Finish", finish("done")).await, finished, "an exact repeat");
    assert_eq!(journal.ok(first).await["verdicts"], verdicts["verdicts"], "an exact repeat, after the end too");
    check("the same end with another body", &api.refused("Finish", finish("other")).await, STEP_CONFLICT);
    let failed = json!({"lease": journal.lease, "outcome": "OUTCOME_FAILED", "reason": "R"});
    check("another end", &api.refused("Finish", failed).await, STEP_CONFLICT);
    let lease = json!({"lease": journal.lease});
    for method in ["GetRunContext", "Release"] {
        check(method, &api.refused(method, lease.clone()).await, RUN_FINISHED);
    }
    journal.refused("one more step", json!({"model_step": step(3, "more")}), RUN_FINISHED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_fences_the_attempt() {
    let mesh = small().without_workers().lease_ms(3_000).start().await;
    let mut session = Session::open(&mesh, &credential("external")).await;
    mesh.send("many:1").await;
    let (api, known) = attempt(&mesh, &mut session).await;
    let lease = json!({"run_id": known.run, "fence": known.fence});
    let beat = json!({"session_id": session.id, "stream_number": 1, "held": [lease]});
    let stranger = worker(&mesh, "stranger").ok("Heartbeat", beat.clone()).await;
    assert_eq!(stranger["status"], "STATUS_LOST", "another credential's session: {stranger}");
    let own = session.api.ok("Heartbeat", beat.clone()).await;
    assert_eq!(own["status"], "STATUS_OK", "and the owner never noticed: {own}");

    // From here on it says nothing, until its run is somebody else's to take.
    let user = Api::of(&mesh);
    let run = json!({"run_id": known.run});
    until("the lease is lost", Duration::from_secs(30), || {
        let (user, run) = (user.clone(), run.clone());
        async move { (user.ok("GetRun", run).await["run"]["state"] != "STATE_RUNNING").then_some(()) }
    })
    .await;
    let entries = json!([{"model_step": step(1, "late")}]);
    let late = [
        ("RecordStep", json!({"lease": lease, "entries": entries})),
        ("GetRunContext", json!({"lease": lease})),
        ("Release", json!({"lease": lease})),
        ("Finish", json!({"lease": lease, "outcome": "OUTCOME_COMPLETED", "last_step": step(1, "late")})),
    ];
    for (method, body) in late {
        check(method, &api.refused(method, body).await, FENCED);
    }
    let lost = session.api.ok("Heartbeat", beat).await;
    assert_eq!((&lost["status"], &lost["lost_run_ids"]), (&json!("STATUS_LOST"), &json!([known.run])), "{lost}");
    let back = json!({"hello": {"worker": "w", "capacity": 1, "session_id": session.id}});
    check("back to a lost session", &session.api.refused("Claim", back).await, no(Code::FailedPrecondition, "SESSION_LOST"));
    let messages = user.ok("GetRunHistory", json!({"run_id": known.run, "include_steps": true})).await;
    assert_eq!(messages["steps"], json!([]), "nothing late was journaled");
}
