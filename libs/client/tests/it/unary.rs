//! Unary calls: retries with one key, deadlines, credentials.

use crate::script::Server;
use runmesh_client::{Client, ClientError, Options, SendOptions};
use runmesh_domain::id::ThreadId;
use runmesh_domain::{Reason, Refusal};
use runmesh_wire::status;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

fn thread() -> ThreadId {
    ThreadId::derived(&[b"thread"])
}

#[tokio::test]
async fn an_outage_is_tried_again_with_the_same_key() {
    let away = || status::plain(Reason::Unavailable, "away");
    let server = Server::failing([away(), away()]).await;
    let sent = server.client().send(thread(), "hi", SendOptions::default()).await.unwrap();
    assert_eq!(sent.run, crate::frames::run());
    let keys = server.keys();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
    server.client().send(thread(), "hi", SendOptions::default()).await.unwrap();
    assert_ne!(server.keys()[3], keys[0], "another call is another intent");
}

#[tokio::test]
async fn a_retry_waits_as_long_as_it_is_told() {
    let server = Server::failing([status::unavailable("away")]).await;
    let began = Instant::now();
    server.client().send(thread(), "hi", SendOptions::default()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500), "RetryInfo of an outage says 500 ms");
}

#[tokio::test]
async fn a_refusal_is_the_answer() {
    let refusal = Refusal::NotFound { what: "thread" };
    let server = Server::failing([status::of_refusal(&refusal)]).await;
    let error = server.client().send(thread(), "hi", SendOptions::default()).await.unwrap_err();
    assert_eq!((error.reason(), error.code()), (Some(Reason::NotFound), Code::NotFound));
    assert_eq!(server.keys().len(), 1);
}

#[tokio::test]
async fn the_tries_are_bounded() {
    let server = Server::failing((0..20).map(|_| status::plain(Reason::Unavailable, "away"))).await;
    let error = server.client().send(thread(), "hi", SendOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Unavailable));
    assert_eq!(server.keys().len(), 6);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let server = Server::failing([]).await;
    let options = Options { deadline: Duration::from_millis(200), ..Options::default() };
    let client = Client::connect(&server.address, options).unwrap();
    let began = Instant::now();
    let error = client.get_run(crate::frames::run()).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::connect(&address, Options { deadline: Duration::from_secs(1), ..Options::default() }).unwrap();
    let error = client.get_run(crate::frames::run()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { address: at, .. } if at.contains(&address)), "{error:?}");
    assert!(error.hint().unwrap().contains("runmesh dev"));
}

#[tokio::test]
async fn credentials_and_the_deadline_go_with_every_call() {
    let server = Server::failing([]).await;
    let options = Options { token: Some("secret".into()), org: Some("acme".into()), ..Options::default() };
    let client = Client::connect(&server.address, options).unwrap();
    client.send(thread(), "hi", SendOptions::default()).await.unwrap();
    let metadata = server.metadata();
    assert_eq!(metadata[..2], [Some("Bearer secret".to_owned()), Some("acme".to_owned())]);
    assert!(metadata[2].is_some(), "grpc-timeout");
    assert!(Client::connect("127.0.0.1:1", Options { token: Some("a\nb".into()), ..Options::default() }).is_err());
}

#[tokio::test]
async fn a_history_is_read_to_its_last_page() {
    let server = Server::failing([]).await;
    let history = server.client().history(crate::frames::run(), true).await.unwrap();
    assert_eq!(history.transitions.iter().map(|transition| transition.version).collect::<Vec<_>>(), [1, 2]);
    let calls = history.steps.iter().map(|step| (step.step_index, step.calls.iter().map(|call| call.call_index).collect()));
    assert_eq!(calls.collect::<Vec<(i32, Vec<i32>)>>(), [(1, vec![0, 1]), (2, vec![0, 1]), (3, vec![])]);
    assert_eq!((history.run.unwrap().run_id, history.next_page_token), (crate::frames::run().to_string(), String::new()));
}
