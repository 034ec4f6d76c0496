//! Streams through the gateway: both directions at once, their trailers, and every way they end early.

use std::time::Duration;

use runmesh_domain::Reason;
use runmesh_wire::pb::run::ListQueueRequest;
use runmesh_wire::pb::stream::{AppendRequest, AttachRunRequest, AttachRunResponse, append_response};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::support::{by, eventually, eventually_within, pair, raw, reason, refused, soon, tokens};

#[tokio::test]
async fn both_directions_go_on_at_once() {
    let (_behind, gateway) = pair().await;
    let (sender, messages) = mpsc::channel(1);
    let request = by(&tokens::lease(Duration::from_secs(60)), ReceiverStream::new(messages));
    let mut answers = soon(gateway.streams().await.append(request)).await.unwrap().into_inner();
    for number in 1..=50 {
        sender.send(AppendRequest::default()).await.unwrap();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        let Some(append_response::Message::Ack(ack)) = answer.message else { panic!("{answer:?}") };
        assert_eq!(ack.number, number);
    }
    drop(sender);
    let status = soon(answers.message()).await.unwrap_err();
    assert_eq!(reason(&status), Reason::StepConflict, "the trailers of the service");
}

#[tokio::test]
async fn a_viewer_that_leaves_ends_the_stream_behind() {
    let (behind, gateway) = pair().await;
    let mut frames =
        gateway.streams().await.attach_run(by(&tokens::ann(), AttachRunRequest::default())).await.unwrap().into_inner();
    assert!(soon(frames.message()).await.unwrap().is_some());
    assert_eq!(behind.open(), 1);
    drop(frames);
    eventually("the stream behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn a_follower_has_no_deadline_unless_it_says_one() {
    let (behind, gateway) = pair().await;
    let mut streams = gateway.streams().await;
    let frames = streams.attach_run(by(&tokens::ann(), AttachRunRequest::default())).await.unwrap();
    assert!(!behind.last().headers.contains_key("grpc-timeout"));
    drop(frames);
    let bearer = format!("Bearer {}", tokens::ann());
    let headers = [("authorization", bearer.as_str()), ("grpc-timeout", "50m")];
    let answer = raw::call(gateway.addr, "/runmesh.stream.v1.StreamService/AttachRun", &headers, raw::message(0, b"")).await;
    assert_eq!(reason(&answer.status()), Reason::DeadlineExceeded);
    assert!(!answer.data.is_empty(), "the first frame came before");
}

#[tokio::test]
async fn the_principal_of_a_stream_ends_with_the_callers_token() {
    let (behind, gateway) = pair().await;
    let ends = tokens::now() + 500;
    let token = tokens::person("ann", json!({"exp": ends}));
    let frames = gateway.streams().await.attach_run(by(&token, AttachRunRequest::default())).await.unwrap();
    let given = behind.last().principal_ends;
    assert!(given.abs_diff(ends) <= 1, "{given} and {ends}");
    drop(frames);
}

#[tokio::test]
async fn a_service_that_dies_ends_its_streams_as_unavailable() {
    let (behind, gateway) = pair().await;
    let mut frames =
        gateway.streams().await.attach_run(by(&tokens::ann(), AttachRunRequest::default())).await.unwrap().into_inner();
    assert!(soon(frames.message()).await.unwrap().is_some());
    behind.kill().await;
    assert_eq!(refused(soon(frames.message()).await), Reason::Unavailable);
}

#[tokio::test]
async fn a_drain_ends_streams_and_then_the_gateway() {
    let (behind, gateway) = pair().await;
    let mut frames =
        gateway.streams().await.attach_run(by(&tokens::ann(), AttachRunRequest::default())).await.unwrap().into_inner();
    assert!(soon(frames.message()).await.unwrap().is_some());
    let life = gateway.life.clone();
    let drain = tokio::spawn(async move { life.drain(Duration::from_secs(8)).await });
    assert_eq!(refused(soon(frames.message()).await), Reason::Draining);
    assert!(soon(drain).await.unwrap(), "it ended by itself, within its grace");
    eventually("the stream behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_callers_token() {
    let (behind, gateway) = pair().await;
    let (sender, messages) = mpsc::channel(1);
    let request = by(&tokens::lease(Duration::from_secs(1)), ReceiverStream::new(messages));
    let mut answers = soon(gateway.streams().await.append(request)).await.unwrap().into_inner();
    sender.send(AppendRequest::default()).await.unwrap();
    assert!(soon(answers.message()).await.unwrap().is_some());
    assert_eq!(refused(soon(answers.message()).await), Reason::TokenExpired);
    eventually("the stream behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn viewers_that_read_nothing_hold_up_neither_a_viewer_nor_an_upload() {
    let (behind, gateway) = pair().await;
    let ann = tokens::ann();
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(gateway.unread(&ann).await);
    }
    behind.flooded().await;
    let mut read = gateway.unread(&ann).await;
    for _ in 0..200 {
        assert!(soon(read.message()).await.unwrap().is_some());
    }
    let (sender, messages) = mpsc::channel(1);
    let request = by(&tokens::lease(Duration::from_secs(60)), ReceiverStream::new(messages));
    let mut answers = soon(gateway.streams().await.append(request)).await.unwrap().into_inner();
    for _ in 0..50 {
        sender.send(AppendRequest::default()).await.unwrap();
        assert!(soon(answers.message()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_soon_after_its_callers_token() {
    let (behind, gateway) = pair().await;
    let token = tokens::person("ann", json!({"exp": tokens::now() + 1}));
    let unread = gateway.unread(&token).await;
    behind.flooded().await;
    assert_eq!(behind.open(), 1);
    // Well before a reader counts as stalled.
    eventually_within(Duration::from_secs(40), "the stream behind has ended", async || behind.open() == 0).await;
    drop(unread);
}

#[tokio::test]
async fn a_drain_ends_streams_that_nobody_reads() {
    let (behind, gateway) = pair().await;
    let unread = gateway.unread(&tokens::ann()).await;
    behind.flooded().await;
    assert!(gateway.life.drain(Duration::from_secs(20)).await, "it ended by itself, within its grace");
    eventually("the stream behind has ended", async || behind.open() == 0).await;
    drop(unread);
}

/// Reads a stream that always has more, until it fails.
async fn failed(mut frames: Streaming<AttachRunResponse>) -> Result<(), Status> {
    let read = async {
        while let Some(_frame) = frames.message().await? {}
        Ok(())
    };
    soon(read).await
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_with_its_callers_token_and_with_a_drain() {
    let (behind, gateway) = pair().await;
    let token = tokens::person("ann", json!({"exp": tokens::now() + 1}));
    assert_eq!(refused(failed(gateway.unread(&token).await).await), Reason::TokenExpired);
    let mut read = gateway.unread(&tokens::ann()).await;
    assert!(soon(read.message()).await.unwrap().is_some());
    gateway.life.stop();
    assert_eq!(refused(failed(read).await), Reason::Draining);
    eventually("the streams behind have ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn calls_viewers_and_workers_have_connections_of_their_own() {
    let (behind, gateway) = pair().await;
    let (ann, lease) = (tokens::ann(), tokens::lease(Duration::from_secs(60)));
    let (mut runs, mut streams) = (gateway.runs().await, gateway.streams().await);
    let mut peers = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        runs.list_queue(by(&ann, ListQueueRequest::default())).await.unwrap();
        let of_call = behind.last().peer;
        held.push(streams.attach_run(by(&ann, AttachRunRequest::default())).await.unwrap());
        let of_viewer = behind.last().peer;
        let upload = streams.append(by(&lease, tokio_stream::pending::<AppendRequest>())).await.unwrap();
        peers.push([of_call, of_viewer, behind.last().peer]);
        drop(upload);
    }
    assert_eq!(peers[0], peers[1], "those of one kind share a connection while it has room");
    let [of_call, of_viewer, of_worker] = peers[0];
    assert!(of_call != of_viewer && of_call != of_worker && of_viewer != of_worker, "{peers:?}");
}
