//! Viewers that read nothing: whole processes, with as many of them as one person may have.

use crate::harness::small;
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Kind, Mesh, Run};
use runmesh_testkit::{Service, until};
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::stream::{AttachRunRequest, AttachRunResponse, FromStart, attach_run_request};
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// The quota of one person.
const STALLED: usize = 50;
/// More than the windows between a relay and its viewer hold, and what either side keeps besides.
const LONG_RUN: &str = "many:20000";
/// What HTTP/2 begins with, so that a stream is soon full.
const WINDOW_BYTES: u32 = 65_535;

/// One gateway, one relay, and a person who may have one viewer more than those that stall.
async fn mesh() -> Mesh {
    small().set(Kind::Relay, "VIEWERS_PER_USER_MAX", &(STALLED + 1).to_string()).start().await
}

/// A client as a program of its own has it: only the mesh is shared.
fn client(mesh: &Mesh) -> StreamServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(mesh.gateway_url(0)).expect("an address").initial_stream_window_size(WINDOW_BYTES);
    StreamServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20)
}

/// As many viewers of a run as one person may have, each of whom got its first frame and reads no more.
async fn stall(mesh: &Mesh, run: &Run) -> Vec<Streaming<AttachRunResponse>> {
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let from = Some(attach_run_request::From::Start(FromStart {}));
        let attach = AttachRunRequest { run_id: run.id.to_string(), from };
        let mut frames = client(mesh).attach_run(attach).await.expect("attached").into_inner();
        assert!(frames.message().await.expect("a frame").is_some());
        stalled.push(frames);
    }
    stalled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_beside_fifty_that_read_nothing_gets_everything() {
    let mut mesh = mesh().await;
    let long = mesh.send(LONG_RUN).await;
    mesh.ended(&long).await;
    let stalled = stall(&mesh, &long).await;
    // Several, one after the other: what the good viewer needs is given back by itself alone.
    for _ in 0..3 {
        let run = mesh.send("slow:100x20").await;
        mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Completed);
    }
    let again = mesh.attach(0, &long).await;
    again.assert_exact().assert_state(StateName::Completed);
    let bytes = |event: &Event| if let Event::TextDelta { text, .. } = event { text.len() } else { 0 };
    let to_read: usize = again.events().iter().map(|(_, event)| bytes(event)).sum();
    assert!(to_read * STALLED > 8 << 20, "the stalled ones have more to read than a window of 8 MiB: {to_read} bytes each");

    // Neither process waits for them when it ends.
    for service in [Service::Relay(0), Service::Gateway(0)] {
        let status = mesh.terminate(service, Duration::from_secs(20)).await;
        assert!(status.success(), "{service:?}: {status}");
    }
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_that_read_nothing_are_gone_after_the_limit() {
    let limit = ("SERVER__WRITE_STALL_LIMIT", "2s");
    let mesh = small().set(Kind::Gateway, limit.0, limit.1).set(Kind::Relay, limit.0, limit.1).start().await;
    let long = mesh.send(LONG_RUN).await;
    mesh.ended(&long).await;
    let stalled = stall(&mesh, &long).await;
    // The person has no seat left, until the mesh takes those back that nobody uses.
    let seat = until("there is a seat", Duration::from_secs(60), || async {
        client(&mesh).attach_run(AttachRunRequest { run_id: long.id.to_string(), from: None }).await.ok()
    })
    .await;
    drop(seat);
    let said = mesh.printed(Service::Gateway(0)) + &mesh.printed(Service::Relay(0));
    assert!(said.contains("its reader has taken nothing for the write-stall limit"), "{said}");
    drop(stalled);
}
