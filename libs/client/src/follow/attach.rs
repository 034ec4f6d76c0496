//! One attachment: the call that opens it. Never decides whether to come back.

use super::update::Start;
use crate::bounds;
use crate::client::Client;
use crate::error::ClientError;
use runmesh_domain::id::RunId;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_request::From;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use tokio::time::timeout;
use tonic::{Request, Streaming};

/// The frames of one attachment.
pub(super) type Frames = Streaming<pb::AttachRunResponse>;

/// Opens a stream of `run` from `start` on.
pub(super) async fn open(client: Client, run: RunId, start: Start) -> Result<Frames, ClientError> {
    let from = match start {
        Start::Snapshot => From::Snapshot(pb::FromSnapshot {}),
        Start::Cursor(cursor) => From::Cursor(cursor),
        Start::Beginning => From::Start(pb::FromStart {}),
        Start::Live => From::Live(pb::FromLive {}),
    };
    let message = pb::AttachRunRequest { run_id: run.to_string(), from: Some(from) };
    let mut stub = StreamServiceClient::new(client.stream_channel());
    match timeout(bounds::ATTACH_OPEN, stub.attach_run(Request::new(message))).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(ClientError::of_status(status, client.address())),
        Err(_elapsed) => Err(ClientError::Interrupted { problem: "the relay did not answer" }),
    }
}
