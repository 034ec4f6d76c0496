//! One attachment: the call that opens it. Never decides whether to come back.

use super::update::{Start, ThreadStart};
use crate::bounds;
use crate::client::Client;
use crate::error::ClientError;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_request::From;
use runmesh_wire::pb::stream::attach_thread_request::From as FromOfThread;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

/// Opens a stream of `run` from `start` on.
pub(super) async fn to_run(client: Client, run: RunId, start: Start) -> Result<Streaming<pb::AttachRunResponse>, ClientError> {
    let from = match start {
        Start::Snapshot => From::Snapshot(pb::FromSnapshot {}),
        Start::Cursor(cursor) => From::Cursor(cursor),
        Start::Beginning => From::Start(pb::FromStart {}),
        Start::Live => From::Live(pb::FromLive {}),
    };
    let message = pb::AttachRunRequest { run_id: run.to_string(), from: Some(from) };
    let mut stub = StreamServiceClient::new(client.stream_channel());
    opened(&client, stub.attach_run(Request::new(message))).await
}

/// Opens a stream of `thread` from `start` on.
pub(super) async fn to_thread(
    client: Client,
    thread: ThreadId,
    start: ThreadStart,
) -> Result<Streaming<pb::AttachThreadResponse>, ClientError> {
    let from = match start {
        ThreadStart::Snapshot => FromOfThread::Snapshot(pb::FromSnapshot {}),
        ThreadStart::Cursor(cursor) => FromOfThread::Cursor(cursor),
        ThreadStart::Live => FromOfThread::Live(pb::FromLive {}),
    };
    let message = pb::AttachThreadRequest { thread_id: thread.to_string(), from: Some(from) };
    let mut stub = StreamServiceClient::new(client.stream_channel());
    opened(&client, stub.attach_thread(Request::new(message))).await
}

async fn opened<M>(
    client: &Client,
    answer: impl Future<Output = Result<Response<Streaming<M>>, Status>>,
) -> Result<Streaming<M>, ClientError> {
    match timeout(bounds::ATTACH_OPEN, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(ClientError::of_status(status, client.address())),
        Err(_elapsed) => Err(ClientError::Interrupted { problem: "the relay did not answer" }),
    }
}
