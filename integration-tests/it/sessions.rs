//! Worker sessions as the mesh keeps them: whose they are, what a Claim stream may say, and what a heartbeat says back.

use crate::harness::{mesh, small};
use crate::rpc::{Api, person, why};
use crate::session::{Session, credential};
use crate::sql;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::WorkerCredential;
use runmesh_testkit::mesh::{Kind, Mesh};
use runmesh_testkit::until;
use runmesh_wire::pb::worker::claim_request::Message as Said;
use runmesh_wire::pb::worker::{AssignmentAck, Credits, Hello};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

/// Sends a message in the org `acme`: the run.
async fn send(mesh: &Mesh, key: &str) -> String {
    let acme = Api::of(mesh).with_token(&person("you", &["dev", "acme"])).in_org("acme");
    let thread = acme.ok("CreateThread", json!({"idempotency_key": key})).await;
    let parts = json!([{"text": {"text": "secret"}}]);
    let message = json!({"idempotency_key": key, "thread_id": text(&thread, "/thread/thread_id"), "parts": parts});
    text(&acme.ok("SendMessage", message).await, "/run_id")
}

/// T1: the name of a credential is anybody's to choose, and every member of an org sees the ids of sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_of_the_same_name_gets_nothing_of_a_session_for_other_orgs() {
    let mesh = mesh().relays(1).without_workers().start().await;
    let bound = |orgs: &[&str]| {
        let orgs = orgs.iter().map(|org| OrgId::of_name(org)).collect();
        WorkerCredential { id: "same".into(), orgs: Some(orgs), agents: None }
    };
    let mut session = Session::open(&mesh, &bound(&["acme", "dev"])).await;
    for (gateway, stranger) in [(0, bound(&["dev"])), (1, bound(&["acme"])), (0, credential("same")), (1, credential("else"))] {
        let refused = Session::reopen(&mesh, gateway, &stranger, &session.id).await.err().expect("a refusal");
        assert_eq!(why("Claim", &refused), (Code::FailedPrecondition, "SESSION_LOST".to_owned()), "{stranger:?}");
    }
    let run = send(&mesh, "first").await;
    let lease = session.assigned().await.lease.expect("a lease");
    assert_eq!(lease.run_id, run);
    let held = json!([{"run_id": run, "fence": lease.fence}]);
    let narrow = Session::open(&mesh, &bound(&["dev"])).await;
    let beat = json!({"session_id": session.id, "stream_number": 9, "held": held});
    let heard = narrow.api.ok("Heartbeat", beat).await;
    assert_eq!((&heard["status"], &heard["lost_run_ids"]), (&json!("STATUS_LOST"), &json!([run])), "{heard}");
    // The whole credential, its orgs in another order, at the other replica.
    let moved = Session::reopen(&mesh, 1, &bound(&["dev", "acme"]), &session.id).await.expect("a welcome");
    assert_eq!((&moved.id, moved.number), (&session.id, 2));
    assert_eq!(moved.beat(held).await["status"], "STATUS_OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_stream_must_not_say_ends_it() {
    let mesh = small().without_workers().start().await;
    let credits = |add| Some(Said::Credits(Credits { add }));
    let nonsense = [
        ("credits.add", credits(0)),
        ("credits.add", credits(-5)),
        ("credits.add", credits(10_001)),
        ("credits.add", credits(i32::MAX)),
        ("hello", Some(Said::Hello(Hello { worker: "again".into(), capacity: 1, ..Hello::default() }))),
        ("ack.lease", Some(Said::Ack(AssignmentAck { lease: None }))),
        ("message", None),
    ];
    for (field, said) in nonsense {
        let mut session = Session::open(&mesh, &credential("external")).await;
        session.say(said.clone()).await;
        let refused = session.refused().await;
        assert_eq!(why("Claim", &refused), (Code::InvalidArgument, "INVALID_FIELD".to_owned()), "{said:?}: {refused:?}");
        assert!(format!("{refused:?}").contains(field), "{said:?}: {refused:?}");
        let back = Session::reopen(&mesh, 0, &credential("external"), &session.id).await;
        assert_eq!(back.expect("it may come back").number, 2, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_says_that_it_did_not_renew() {
    let mesh = small().without_workers().lease_ms(30_000).start().await;
    let mut session = Session::open(&mesh, &credential("external")).await;
    let beat = session.beat(json!([])).await;
    assert_eq!((&beat["status"], &beat["not_renewed"]), (&json!("STATUS_OK"), &json!(false)), "{beat}");
    session.say(None).await;
    session.refused().await;
    until("the lease is cut", Duration::from_secs(10), || async {
        let beat = session.beat(json!([])).await;
        assert_eq!(beat["status"], "STATUS_OK", "{beat}");
        (beat["not_renewed"] == true).then_some(())
    })
    .await;
    let back = Session::reopen(&mesh, 0, &credential("external"), &session.id).await.expect("a welcome");
    assert_eq!(back.beat(json!([])).await["not_renewed"], false);
}

/// What keeps a run, in every answer that shows one.
async fn blocked_by(api: &Api, run: &str, thread: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for (method, body, at) in [
        ("GetRun", json!({"run_id": run}), "/run"),
        ("GetRunHistory", json!({"run_id": run}), "/run"),
        ("ListRuns", json!({}), "/runs"),
        ("ListRuns", json!({"thread_id": thread, "states": ["STATE_READY"]}), "/runs"),
        ("ListQueue", json!({"thread_id": thread}), "/runs"),
    ] {
        let answer = api.ok(method, body).await;
        let shown = answer.pointer(at).unwrap_or_else(|| panic!("{at} in {answer}"));
        let runs = shown.as_array().cloned().unwrap_or_else(|| vec![shown.clone()]);
        let one = runs.iter().find(|one| one["run_id"] == run).unwrap_or_else(|| panic!("{run} in {answer}"));
        seen.push(text(one, "/blocked_by"));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_what_keeps_a_run() {
    let limits = [("QUEUES__RUNNING_PER_USER_MAX", "1"), ("QUEUES__RUNNING_PER_ORG_MAX", "2")];
    let mesh = limits.into_iter().fold(small(), |mesh, (key, value)| mesh.set(Kind::Orchestrator, key, value));
    let mesh = mesh.without_workers().lease_ms(60_000).start().await;
    let you = Api::of(&mesh).with_token(&person("you", &["acme"]));
    let mia = Api::of(&mesh).with_token(&person("mia", &["acme"]));
    let zoe = Api::of(&mesh).with_token(&person("zoe", &["acme"]));
    for user in ["mia", "zoe"] {
        let member =
            json!({"idempotency_key": user, "user_id": UserId::of_subject("dev", user).to_string(), "role": "ROLE_MEMBER"});
        you.ok("PutMember", member).await;
    }
    let send = async |api: &Api, key: &str| {
        let thread = text(&api.ok("CreateThread", json!({"idempotency_key": key})).await, "/thread/thread_id");
        let parts = json!([{"text": {"text": "hi"}}]);
        let sent = api.ok("SendMessage", json!({"idempotency_key": key, "thread_id": thread, "parts": parts})).await;
        (text(&sent, "/run_id"), thread)
    };
    let (run, thread) = send(&you, "1").await;
    assert_eq!(blocked_by(&you, &run, &thread).await, ["BLOCKED_BY_NO_CAPABLE_WORKER"; 5]);
    let (mut first, mut second) =
        (Session::open(&mesh, &credential("external")).await, Session::open(&mesh, &credential("external")).await);
    let lease = tokio::select! {
        assignment = first.assigned() => assignment,
        assignment = second.assigned() => assignment,
    };
    assert_eq!(lease.lease.expect("a lease").run_id, run);
    let (waits, thread) = send(&you, "2").await;
    assert_eq!(blocked_by(&you, &waits, &thread).await, ["BLOCKED_BY_USER_LIMIT"; 5]);
    let (other, _) = send(&mia, "3").await;
    let lease = tokio::select! {
        assignment = first.assigned() => assignment,
        assignment = second.assigned() => assignment,
    };
    assert_eq!(lease.lease.expect("a lease").run_id, other);
    let (waits, thread) = send(&zoe, "4").await;
    assert_eq!(blocked_by(&zoe, &waits, &thread).await, ["BLOCKED_BY_ORG_LIMIT"; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_comes_late_is_shown_to_who_decides() {
    let mesh = small().without_workers().start().await;
    let you = Api::of(&mesh);
    let tool = json!({"name": "charge", "http": {"url": "http://127.0.0.1:9/"}});
    let agent = you.ok("CreateAgent", json!({"idempotency_key": "a", "name": "a", "spec": {"tools": [tool]}})).await;
    let thread = json!({"idempotency_key": "t", "agent": text(&agent, "/agent/agent_id")});
    let thread = text(&you.ok("CreateThread", thread).await, "/thread/thread_id");
    let parts = json!([{"text": {"text": "hi"}}]);
    let mut session = Session::open(&mesh, &credential("external")).await;
    you.ok("SendMessage", json!({"idempotency_key": "s", "thread_id": thread, "parts": parts})).await;
    let assignment = session.assigned().await;
    let holder = Api::of(&mesh).with_token(&assignment.run_token);
    let lease = assignment.lease.expect("a lease");
    let lease = json!({"run_id": lease.run_id, "fence": lease.fence});
    let call = json!({"tool_call": {"call_id": "c", "name": "charge", "arguments_json": "{}"}});
    let step = json!({"step_index": 1, "result": {"parts": [call], "model": "mock", "finish_reason": "tool_calls"}});
    let record = |entry: Value| json!({"lease": lease, "entries": [entry]});
    holder.ok("RecordStep", record(json!({"model_step": step}))).await;
    holder.ok("RecordStep", record(json!({"call_dispatched": {"step_index": 1, "call_index": 0}}))).await;
    // The worker is silent, and its lease ends.
    let waits = async || {
        let actions = you.ok("ListPendingActions", json!({})).await;
        actions["actions"].as_array().and_then(|actions| actions.first().cloned())
    };
    let asked = until("a person is asked", Duration::from_secs(30), &waits).await;
    assert_eq!(asked["late_results"], json!([]), "{asked}");
    let late = record(json!({"call_done": {"step_index": 1, "call_index": 0, "content": "charged", "is_error": false}}));
    let refused = holder.refused("RecordStep", late).await;
    assert_eq!(why("RecordStep", &refused).1, "FENCED", "{refused:?}");
    let asked = waits().await.expect("it still waits");
    assert_eq!(text(&asked, "/late_results/0/content"), "charged", "{asked}");
}

/// A worker that heartbeats, names its run, and does nothing. It ends with the test.
struct Hung {
    run: String,
    fence: i64,
    holder: Api,
    session: Session,
}

impl Hung {
    async fn with_a_run(mesh: &Mesh, thread: &str, key: &str) -> Self {
        let mut session = Session::open(mesh, &credential("external")).await;
        let parts = json!([{"text": {"text": "hi"}}]);
        Api::of(mesh).ok("SendMessage", json!({"idempotency_key": key, "thread_id": thread, "parts": parts})).await;
        let assignment = session.assigned().await;
        let lease = assignment.lease.expect("a lease");
        let holder = Api::of(mesh).with_token(&assignment.run_token);
        Self { run: lease.run_id, fence: lease.fence, holder, session }
    }

    /// The run as it is, while the worker goes on heartbeating.
    async fn look(&self, mesh: &Mesh) -> Value {
        let beat = self.session.beat(json!([{"run_id": self.run, "fence": self.fence}])).await;
        assert_eq!(beat["status"], "STATUS_OK", "the worker lives: {beat}");
        Api::of(mesh).ok("GetRun", json!({"run_id": self.run})).await["run"].clone()
    }

    /// What it says after the run was taken from it is refused.
    async fn is_fenced(&self) {
        let finish = json!({"lease": {"run_id": self.run, "fence": self.fence}, "outcome": "OUTCOME_COMPLETED"});
        let refused = self.holder.refused("Finish", finish).await;
        assert_eq!(why("Finish", &refused).1, "FENCED", "R1: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_a_run_whose_worker_hangs_and_frees_its_thread() {
    let mesh = small().without_workers().start().await;
    let you = Api::of(&mesh);
    let thread = text(&you.ok("CreateThread", json!({"idempotency_key": "t"})).await, "/thread/thread_id");
    let hung = Hung::with_a_run(&mesh, &thread, "1").await;
    let parts = json!([{"text": {"text": "next"}}]);
    let next = you.ok("SendMessage", json!({"idempotency_key": "2", "thread_id": thread, "parts": parts})).await;
    you.ok("CancelRun", json!({"idempotency_key": "c", "run_id": hung.run})).await;
    let ended = until("the cancel ends the run", Duration::from_secs(60), || async {
        let run = hung.look(&mesh).await;
        (run["state"] != "STATE_RUNNING").then_some(run)
    })
    .await;
    assert_eq!(ended["state"], "STATE_CANCELED", "{ended}");
    let next = you.ok("GetRun", json!({"run_id": next["run_id"]})).await;
    assert_ne!(next["run"]["state"], "STATE_QUEUED", "the thread goes on: {next}");
    hung.is_fenced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_progress_is_taken_from_its_worker() {
    let mesh = small().without_workers().start().await;
    let you = Api::of(&mesh);
    let thread = text(&you.ok("CreateThread", json!({"idempotency_key": "t"})).await, "/thread/thread_id");
    let hung = Hung::with_a_run(&mesh, &thread, "1").await;
    let step = json!({"step_index": 1, "result": {"parts": [{"text": {"text": "a"}}], "model": "m", "finish_reason": "stop"}});
    let lease = json!({"run_id": hung.run, "fence": hung.fence});
    // Nothing for nearly as long as an attempt may take, and then a step: it goes on.
    let age = async |minutes: u32| {
        let text = format!("UPDATE runs SET progress_at = clock_timestamp() - interval '{minutes} min' RETURNING id::text");
        assert_eq!(sql::query(&mesh, &text).await.len(), 1);
    };
    age(59).await;
    hung.holder.ok("RecordStep", json!({"lease": lease, "entries": [{"model_step": step}]})).await;
    let recent = "SELECT (progress_at > clock_timestamp() - interval '1 min')::text FROM runs";
    assert_eq!(sql::query(&mesh, recent).await, ["true"], "a step is progress");
    age(61).await;
    let taken = until("the attempt is taken back", Duration::from_secs(60), || async {
        let run = hung.look(&mesh).await;
        (run["fence"] != hung.fence).then_some(run)
    })
    .await;
    assert!(taken["fence"].as_i64() > Some(hung.fence), "{taken}");
    hung.is_fenced().await;
}
