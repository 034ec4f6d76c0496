//! R5: one key and body is one run and one answer.

use crate::harness::{mesh, small};
use crate::rpc::{Api, decode, encode, method, methods, person, why};
use runmesh_client::SendOptions;
use runmesh_domain::Reason;
use runmesh_domain::id::UserId;
use runmesh_testkit::mesh::Mesh;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::Code;

fn with_key(key: &str) -> SendOptions {
    SendOptions { idempotency_key: Some(key.to_owned()), ..SendOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_hears_the_first_answer_and_another_body_is_refused() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let first = mesh.client(0).send(thread, "many:1", with_key("k-1")).await.expect("accepted");
    let again = mesh.client(1).send(thread, "many:1", with_key("k-1")).await.expect("accepted");
    assert!(!first.replayed && again.replayed);
    assert_eq!(
        (first.run, first.message, first.turn_number, &first.cursor),
        (again.run, again.message, again.turn_number, &again.cursor)
    );
    let refused = mesh.client(1).send(thread, "many:2", with_key("k-1")).await.expect_err("a refusal");
    assert_eq!(refused.reason(), Some(Reason::IdempotencyKeyReused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_with_one_key_make_one_run() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let calls = (0..50).map(|n| {
        let client = mesh.client(n % 2);
        async move { client.send(thread, "many:1", with_key("race")).await.expect("accepted") }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.run == answers[0].run), "one run");
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "one of them made it");
}

/// A newer client may send a field that this version does not know: it is part of the body all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_not_known_makes_another_body() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let (api, send) = (Api::of(&mesh), method("SendMessage"));
    let body = json!({"idempotency_key": "k", "thread_id": thread.to_string(), "parts": [{"text": {"text": "many:1"}}]});
    let unknown = [0x98, 0x06, 0x07];
    let newer = [encode(&send.request, body.clone()), unknown.to_vec()].concat();
    let first = decode(&send.response, &api.send(&send.path, vec![newer.clone()]).await.expect("accepted"));
    let again = decode(&send.response, &api.send(&send.path, vec![newer]).await.expect("accepted"));
    assert_eq!((&first["run_id"], &again["replayed"]), (&again["run_id"], &json!(true)));
    let without = api.call("SendMessage", body).await.expect_err("another body");
    assert_eq!(why("another body", &without), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED".to_owned()));
}

/// Every mutating method, with a body and another one. Each is tried in this order, and leaves what the next ones need.
pub fn calls(things: &Things) -> Vec<(&'static str, Value, Value)> {
    let Things { thread, runs, threads, users, names } = things;
    let message = |text: &str| json!({"thread_id": thread, "parts": [{"text": {"text": text}}]});
    let agent = |name: &str, model: &str| json!({"name": name, "spec": {"model": model}});
    let update = |model: &str| json!({"agent": names[0], "spec": {"model": model}});
    let member = |role: &str| json!({"user_id": users[0], "role": role});
    vec![
        ("SendMessage", message("a"), message("b")),
        ("CancelRun", json!({"run_id": runs[0]}), json!({"run_id": runs[1]})),
        ("CreateThread", json!({"title": "a"}), json!({"title": "b"})),
        ("UpdateThread", json!({"thread_id": thread, "title": "a"}), json!({"thread_id": thread, "title": "b"})),
        ("DeleteThread", json!({"thread_id": threads[0]}), json!({"thread_id": threads[1]})),
        ("CreateAgent", agent(&names[0], "a"), agent(&names[1], "a")),
        ("UpdateAgent", update("b"), update("c")),
        ("DeleteAgent", json!({"agent": names[0]}), json!({"agent": "default"})),
        ("PutMember", member("ROLE_MEMBER"), member("ROLE_ADMIN")),
        ("RemoveMember", json!({"user_id": users[0]}), json!({"user_id": users[1]})),
        ("CreateOrg", json!({"name": names[0]}), json!({"name": names[1]})),
        ("UpdateOrg", json!({"display_name": "a"}), json!({"display_name": "b"})),
    ]
}

/// What the calls are about.
#[derive(Default)]
pub struct Things {
    thread: String,
    runs: [String; 2],
    threads: [String; 2],
    users: [String; 2],
    /// Of agents and orgs that are not there yet.
    names: [String; 2],
}

impl Things {
    pub async fn of(mesh: &Mesh, names: [&str; 2]) -> Self {
        let thread = async || mesh.thread().await.to_string();
        let run = async || mesh.send("many:1").await.id.to_string();
        Self {
            thread: thread().await,
            runs: [run().await, run().await],
            threads: [thread().await, thread().await],
            users: ["mia", "you"].map(|subject| UserId::of_subject("dev", subject).to_string()),
            names: names.map(str::to_owned),
        }
    }
}

pub fn keyed(body: &Value, key: &str) -> Value {
    let mut body = body.clone();
    body["idempotency_key"] = json!(key);
    body
}

#[test]
fn every_method_with_a_key_is_tried() {
    let mut tried: BTreeSet<String> = calls(&Things::default()).iter().map(|(method, ..)| (*method).to_owned()).collect();
    // After which nothing is left to call; it has a test of its own.
    tried.insert("DeleteOrg".to_owned());
    let all: BTreeSet<String> = methods().into_iter().filter(|method| method.has_key).map(|method| method.name).collect();
    assert_eq!(tried, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutating_rpc_happens_once_per_key() {
    let mesh = small().without_workers().start().await;
    let things = Things::of(&mesh, ["first", "second"]).await;
    let (api, by_token) = (Api::of(&mesh), Api::of(&mesh).with_token(&person("you", &["dev"])));
    for (method, body, other) in calls(&things) {
        // One key for all of them: it is the method's own.
        let mut first = api.ok(method, keyed(&body, "key")).await;
        assert_eq!(first["replayed"], false, "{method}: {first}");
        first["replayed"] = json!(true);
        for repeat in [&api, &by_token] {
            assert_eq!(repeat.ok(method, keyed(&body, "key")).await, first, "{method}: the first answer, marked");
        }
        let reused = api.refused(method, keyed(&other, "key")).await;
        assert_eq!(why(method, &reused), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED".to_owned()), "{method}: {reused:?}");
        let empty = api.refused(method, json!({"idempotency_key": "key"})).await;
        assert_eq!(
            why(method, &empty).1,
            "IDEMPOTENCY_KEY_REUSED",
            "{method}: the key is looked up before the fields: {empty:?}"
        );
    }
    let run = api.ok("GetRun", json!({"run_id": things.runs[1]})).await;
    assert_eq!(run["run"]["cancel_requested"], false, "a reused key does nothing: {run}");
    let queue = api.ok("ListQueue", json!({"thread_id": things.thread})).await;
    assert_eq!(queue["runs"].as_array().map(Vec::len), Some(1), "one message was accepted: {queue}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deleted_an_org_hears_so_again_and_nobody_else_does() {
    let mesh = small().without_workers().start().await;
    let admin = Api::of(&mesh).in_org("acme");
    let mia = UserId::of_subject("dev", "mia").to_string();
    admin.ok("PutMember", json!({"idempotency_key": "k", "user_id": mia, "role": "ROLE_ADMIN"})).await;
    let delete = |key: &str| json!({"idempotency_key": key});
    assert_eq!(admin.ok("DeleteOrg", delete("k")).await["replayed"], false);
    assert_eq!(admin.ok("DeleteOrg", delete("k")).await["replayed"], true);
    assert_eq!(why("another key", &admin.refused("DeleteOrg", delete("l")).await).0, Code::NotFound);
    let mia = Api::of(&mesh).with_token(&person("mia", &["acme"]));
    assert_eq!(why("another admin", &mia.refused("DeleteOrg", delete("k")).await).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_hears_of_no_org_before_of_a_field() {
    let mesh = small().without_workers().start().await;
    let stranger = Api::of(&mesh).with_token(&person("mia", &["acme"]));
    for (method, ..) in calls(&Things::default()).into_iter().filter(|(method, ..)| *method != "CreateOrg") {
        let refused = stranger.refused(method, json!({"idempotency_key": "k"})).await;
        assert_eq!(why(method, &refused), (Code::NotFound, "NOT_FOUND".to_owned()), "{method}: {refused:?}");
        let keyless = stranger.refused(method, json!({})).await;
        assert_eq!(why(method, &keyless), (Code::InvalidArgument, "INVALID_FIELD".to_owned()), "{method}: {keyless:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_with_one_key_are_not_in_each_others_way() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await.to_string();
    let message = json!({"thread_id": thread, "parts": [{"text": {"text": "slow:50x100"}}], "on_busy": "ON_BUSY_REJECT"});
    for (method, body) in [
        ("CreateOrg", json!({"name": "raced"})),
        ("CreateAgent", json!({"name": "raced", "spec": {}})),
        ("SendMessage", message),
        ("DeleteAgent", json!({"agent": "raced"})),
    ] {
        let calls = (0..20).map(|_| {
            let (api, body) = (Api::of(&mesh), keyed(&body, "race"));
            async move { api.ok(method, body).await }
        });
        let mut answers = futures::future::join_all(calls).await;
        assert_eq!(answers.iter().filter(|answer| answer["replayed"] == false).count(), 1, "{method}: one of them did it");
        for answer in &mut answers {
            answer["replayed"] = json!(true);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_its_callers_own_and_refusals_are_not_remembered() {
    let mesh = small().without_workers().start().await;
    let api = Api::of(&mesh);
    let mia = UserId::of_subject("dev", "mia").to_string();
    api.ok("PutMember", json!({"idempotency_key": "k", "user_id": mia, "role": "ROLE_MEMBER"})).await;
    let create = |title: &str| json!({"idempotency_key": "shared", "title": title});
    let yours = api.ok("CreateThread", create("yours")).await;
    let hers = Api::of(&mesh).with_token(&person("mia", &["dev"])).ok("CreateThread", create("hers")).await;
    assert_eq!(hers["replayed"], false, "{hers}");
    let acme = Api::of(&mesh).with_token(&person("you", &["acme"])).ok("CreateThread", create("acme's")).await;
    assert_eq!(acme["replayed"], false, "{acme}");
    let ids: BTreeSet<String> = [&yours, &hers, &acme].map(|answer| answer["thread"]["thread_id"].to_string()).into();
    assert_eq!(ids.len(), 3);

    let early = |agent: &str| json!({"idempotency_key": "early", "agent": agent});
    let refused = api.refused("CreateThread", early("later")).await;
    assert_eq!(why("no such agent yet", &refused).0, Code::NotFound);
    api.ok("CreateAgent", json!({"idempotency_key": "k", "name": "later", "spec": {}})).await;
    assert_eq!(api.ok("CreateThread", early("later")).await["replayed"], false);
}
