//! A server that plays scripts: each attach is answered by the next one, each unary call by the next status.

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use runmesh_client::pb::run::run_service_server::{RunService, RunServiceServer};
use runmesh_client::pb::run::{self as run_pb};
use runmesh_client::pb::stream::attach_run_request::From;
use runmesh_client::pb::stream::stream_service_server::{StreamService, StreamServiceServer};
use runmesh_client::pb::stream::{
    AppendRequest, AppendResponse, AttachRunRequest, AttachRunResponse, AttachThreadRequest, AttachThreadResponse,
};
use runmesh_client::{Client, Options};
use runmesh_wire::status;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// How an attachment goes after its frames.
#[derive(Debug, Clone)]
pub enum Then {
    /// The stream ends without an error.
    Leave,
    /// The stream ends with UNAVAILABLE.
    Break,
    /// Nothing more comes, and the stream stays open.
    Hang,
}

/// One attachment: refused at once, or frames and what follows them.
#[derive(Debug, Clone)]
pub enum Scene {
    Refuse(Status),
    Play(Vec<AttachRunResponse>, Then),
}

/// What the server was asked.
#[derive(Debug, Default)]
struct Seen {
    attaches: Vec<Option<From>>,
    keys: Vec<String>,
    metadata: Vec<Option<String>>,
}

#[derive(Debug, Clone, Default)]
struct Stage {
    scenes: Arc<Mutex<VecDeque<Scene>>>,
    answers: Arc<Mutex<VecDeque<Status>>>,
    seen: Arc<Mutex<Seen>>,
}

/// The running server; stopped when dropped.
pub struct Server {
    pub address: String,
    stage: Stage,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn playing(scenes: impl IntoIterator<Item = Scene>) -> Self {
        let stage = Stage { scenes: Arc::new(Mutex::new(scenes.into_iter().collect())), ..Stage::default() };
        Self::start(stage).await
    }

    /// Answers unary calls with these statuses first, then with success.
    pub async fn failing(answers: impl IntoIterator<Item = Status>) -> Self {
        let stage = Stage { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Stage::default() };
        Self::start(stage).await
    }

    async fn start(stage: Stage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = tonic::transport::Server::builder()
            .add_service(StreamServiceServer::new(stage.clone()))
            .add_service(RunServiceServer::new(stage.clone()));
        let task = tokio::spawn(async move { routes.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        Self { address, stage, task }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address, Options { patience: Duration::from_secs(2), ..Options::default() }).unwrap()
    }

    /// Where each attachment began.
    pub fn attaches(&self) -> Vec<Option<From>> {
        self.stage.seen.lock().unwrap().attaches.clone()
    }

    /// The idempotency key of each unary call.
    pub fn keys(&self) -> Vec<String> {
        self.stage.seen.lock().unwrap().keys.clone()
    }

    /// `authorization`, `x-runmesh-org` and `grpc-timeout` of the last call.
    pub fn metadata(&self) -> Vec<Option<String>> {
        self.stage.seen.lock().unwrap().metadata.clone()
    }
}

#[tonic::async_trait]
impl StreamService for Stage {
    type AttachRunStream = BoxStream<'static, Result<AttachRunResponse, Status>>;
    type AttachThreadStream = BoxStream<'static, Result<AttachThreadResponse, Status>>;
    type AppendStream = BoxStream<'static, Result<AppendResponse, Status>>;

    async fn attach_run(&self, request: Request<AttachRunRequest>) -> Result<Response<Self::AttachRunStream>, Status> {
        self.seen.lock().unwrap().attaches.push(request.into_inner().from);
        let scene = self.scenes.lock().unwrap().pop_front();
        match scene.unwrap_or_else(|| Scene::Refuse(status::unavailable("the script is over"))) {
            Scene::Refuse(status) => Err(status),
            Scene::Play(frames, then) => {
                let frames = stream::iter(frames.into_iter().map(Ok));
                let rest = match then {
                    Then::Leave => stream::empty().boxed(),
                    Then::Break => stream::iter([Err(status::unavailable("the relay broke"))]).boxed(),
                    Then::Hang => stream::pending().boxed(),
                };
                Ok(Response::new(frames.chain(rest).boxed()))
            }
        }
    }

    async fn attach_thread(&self, _: Request<AttachThreadRequest>) -> Result<Response<Self::AttachThreadStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn append(&self, _request: Request<Streaming<AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

impl Stage {
    fn answer<T>(&self, key: String, metadata: &tonic::metadata::MetadataMap, value: T) -> Result<Response<T>, Status> {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut seen = self.seen.lock().unwrap();
        seen.keys.push(key);
        seen.metadata = ["authorization", "x-runmesh-org", "grpc-timeout"].map(text).to_vec();
        match self.answers.lock().unwrap().pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(value)),
        }
    }
}

/// Three pages: one of transitions, one that ends within the second step, and the rest of that step.
fn history_page(run_id: String, token: &str) -> run_pb::GetRunHistoryResponse {
    let transition = |version| run_pb::Transition { version, ..run_pb::Transition::default() };
    let call = |call_index| run_pb::step::Call { call_index, ..run_pb::step::Call::default() };
    let step = |step_index, calls: &[i32]| run_pb::Step {
        step_index,
        calls: calls.iter().copied().map(call).collect(),
        ..run_pb::Step::default()
    };
    let (transitions, steps, next) = match token {
        "" => (vec![transition(1)], vec![], "1"),
        "1" => (vec![transition(2)], vec![step(1, &[0, 1]), step(2, &[0])], "2"),
        _ => (vec![], vec![step(2, &[1]), step(3, &[])], ""),
    };
    let run = Some(run_pb::Run { run_id, ..run_pb::Run::default() });
    run_pb::GetRunHistoryResponse { run, transitions, steps, next_page_token: next.into() }
}

#[tonic::async_trait]
impl RunService for Stage {
    async fn send_message(
        &self,
        request: Request<run_pb::SendMessageRequest>,
    ) -> Result<Response<run_pb::SendMessageResponse>, Status> {
        let answer = run_pb::SendMessageResponse {
            run_id: crate::frames::run().to_string(),
            message_id: runmesh_domain::id::MessageId::derived(&[b"m"]).to_string(),
            turn_number: 1,
            cursor: crate::frames::cursor(0),
            ..run_pb::SendMessageResponse::default()
        };
        let metadata = request.metadata().clone();
        self.answer(request.into_inner().idempotency_key, &metadata, answer)
    }

    async fn get_run(&self, _request: Request<run_pb::GetRunRequest>) -> Result<Response<run_pb::GetRunResponse>, Status> {
        futures::future::pending().await
    }

    async fn list_runs(&self, _request: Request<run_pb::ListRunsRequest>) -> Result<Response<run_pb::ListRunsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list_queue(
        &self,
        _request: Request<run_pb::ListQueueRequest>,
    ) -> Result<Response<run_pb::ListQueueResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn cancel_run(
        &self,
        _request: Request<run_pb::CancelRunRequest>,
    ) -> Result<Response<run_pb::CancelRunResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_run_history(
        &self,
        request: Request<run_pb::GetRunHistoryRequest>,
    ) -> Result<Response<run_pb::GetRunHistoryResponse>, Status> {
        let run_pb::GetRunHistoryRequest { run_id, page_token, .. } = request.into_inner();
        Ok(Response::new(history_page(run_id, &page_token)))
    }
}
