//! A server that answers at once with messages of the workload's size and does nothing else.

use super::DELTAS;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use runmesh_domain::Reason;
use runmesh_wire::pb::run::run_service_server::RunService;
use runmesh_wire::pb::run::{
    CancelRunRequest, CancelRunResponse, GetRunHistoryRequest, GetRunHistoryResponse, GetRunRequest, GetRunResponse,
    ListQueueRequest, ListQueueResponse, ListRunsRequest, ListRunsResponse, SendMessageRequest, SendMessageResponse,
};
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::pb::stream::run_event::Kind;
use runmesh_wire::pb::stream::stream_service_server::StreamService;
use runmesh_wire::pb::stream::{
    AppendRequest, AppendResponse, AttachRunRequest, AttachRunResponse, AttachThreadRequest, AttachThreadResponse, Events,
    RunEvent, TextDelta,
};
use runmesh_wire::status;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// Knows two methods.
#[derive(Debug)]
pub(super) struct Stub;

fn not_here<T>() -> Answer<T> {
    Err(status::plain(Reason::UnknownMethod, "only what the workload needs"))
}

fn delta(index: usize) -> AttachRunResponse {
    let text = TextDelta { step_index: 1, text: format!("t1234567890123 chunk-{index:03}"), path: String::new() };
    let events = vec![RunEvent { kind: Some(Kind::TextDelta(text)) }];
    let frame = Events { first_seq: index as i64, events, cursor: "c".repeat(60), ..Events::default() };
    AttachRunResponse { frame: Some(Frame::Events(frame)) }
}

#[tonic::async_trait]
impl RunService for Stub {
    async fn send_message(&self, _: Request<SendMessageRequest>) -> Answer<SendMessageResponse> {
        let id = "0".repeat(36);
        let answer = SendMessageResponse { run_id: id.clone(), message_id: id, cursor: "c".repeat(60), ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn get_run(&self, _: Request<GetRunRequest>) -> Answer<GetRunResponse> {
        not_here()
    }

    async fn list_runs(&self, _: Request<ListRunsRequest>) -> Answer<ListRunsResponse> {
        not_here()
    }

    async fn list_queue(&self, _: Request<ListQueueRequest>) -> Answer<ListQueueResponse> {
        not_here()
    }

    async fn cancel_run(&self, _: Request<CancelRunRequest>) -> Answer<CancelRunResponse> {
        not_here()
    }

    async fn get_run_history(&self, _: Request<GetRunHistoryRequest>) -> Answer<GetRunHistoryResponse> {
        not_here()
    }
}

#[tonic::async_trait]
impl StreamService for Stub {
    type AttachRunStream = BoxStream<'static, Result<AttachRunResponse, Status>>;
    type AttachThreadStream = BoxStream<'static, Result<AttachThreadResponse, Status>>;
    type AppendStream = BoxStream<'static, Result<AppendResponse, Status>>;

    async fn attach_run(&self, _: Request<AttachRunRequest>) -> Answer<Self::AttachRunStream> {
        Ok(Response::new(stream::iter((0..DELTAS).map(|index| Ok(delta(index)))).boxed()))
    }

    async fn attach_thread(&self, _: Request<AttachThreadRequest>) -> Answer<Self::AttachThreadStream> {
        not_here()
    }

    async fn append(&self, _: Request<Streaming<AppendRequest>>) -> Answer<Self::AppendStream> {
        not_here()
    }
}
