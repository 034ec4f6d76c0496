//! A server as the gateway finds them behind it: it demands a signed principal, notes what it was sent, and answers in every way
//! a service does.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runmesh_domain::Refusal;
use runmesh_domain::principal::Principal;
use runmesh_host::health::Reporter;
use runmesh_host::server::{Policy, Principal as SignedPrincipal, ServerConfig};
use runmesh_host::signed::{MeshKey, Verified, Verifier};
use runmesh_host::{Lifecycle, Server};
use runmesh_wire::pb::run::run_service_server::{RunService, RunServiceServer};
use runmesh_wire::pb::run::{self as pb, Run};
use runmesh_wire::pb::stream::stream_service_server::{StreamService, StreamServiceServer};
use runmesh_wire::pb::stream::{self, append_response, attach_run_response};
use runmesh_wire::{deadline, header, status};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::tokens;

/// The run whose streams never end and are as fast as their readers.
pub const FLOOD: &str = "flood";

/// What a call came with.
#[derive(Clone, Debug)]
pub struct Call {
    pub principal: Principal,
    pub principal_ends: u64,
    pub headers: MetadataMap,
    /// The near end of the connection over which it came.
    pub peer: SocketAddr,
}

/// The server.
pub struct Behind {
    pub addr: SocketAddr,
    pub life: Lifecycle,
    pub state: State,
}

/// What it knows.
#[derive(Clone, Default)]
pub struct State {
    name: &'static str,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Streams and hanging calls that are open.
    open: Arc<AtomicUsize>,
    /// Frames that streams of [`FLOOD`] have made.
    flooded: Arc<AtomicUsize>,
}

impl Behind {
    pub async fn start(name: &'static str) -> Self {
        let state = State { name, ..State::default() };
        let key = MeshKey::from_hex(&tokens::hex(tokens::MESH)).unwrap();
        let verifier = Verifier::new(&key, header::HOP_TYPE, header::AUDIENCE);
        let guard = SignedPrincipal::<Principal>::new(http::HeaderName::from_static(header::PRINCIPAL), verifier);
        let routes = Routes::new(RunServiceServer::new(state.clone())).add_service(StreamServiceServer::new(state.clone()));
        let policy = Policy {
            reason: |code| status::reason_of_code(code).name(),
            knows: runmesh_wire::descriptors::is_method,
            deadline: deadline::of,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (life, health) = (Lifecycle::new(), Reporter::new(&[]));
        let server = Server::builder(ServerConfig::default()).policy(policy).guard(guard).health(health);
        life.spawn("grpc", server.serve(listener, routes, life.clone()));
        Self { addr, life, state }
    }

    /// As a killed process: no goodbye.
    pub async fn kill(&self) {
        self.life.hard().cancel();
        assert!(self.life.drain(Duration::from_secs(5)).await);
    }

    /// The last call's principal and headers.
    pub fn last(&self) -> Call {
        self.state.calls.lock().unwrap().last().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.state.calls.lock().unwrap().len()
    }

    /// Waits until no stream of [`FLOOD`] gets rid of anything more.
    pub async fn flooded(&self) {
        let (mut before, mut since) = (0, Instant::now());
        super::eventually("every window is full", async || {
            let now = self.state.flooded.load(Ordering::SeqCst);
            if std::mem::replace(&mut before, now) != now {
                since = Instant::now();
            }
            now > 0 && since.elapsed() > Duration::from_millis(200)
        })
        .await;
    }

    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl State {
    fn note<T>(&self, request: &Request<T>) {
        let verified = request.extensions().get::<Verified<Principal>>().unwrap();
        let (principal, principal_ends) = (verified.claims.clone(), verified.expires_at);
        let (headers, peer) = (request.metadata().clone(), request.remote_addr().unwrap());
        self.calls.lock().unwrap().push(Call { principal, principal_ends, headers, peer });
    }

    fn enter(&self) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(&self.open))
    }
}

/// Counts one call or stream until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RunService for State {
    /// Answers with the thread's id as the cursor.
    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<Response<pb::SendMessageResponse>, Status> {
        self.note(&request);
        let cursor = request.into_inner().thread_id;
        Ok(Response::new(pb::SendMessageResponse { cursor, ..Default::default() }))
    }

    /// Refuses, with a header of its own.
    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        self.note(&request);
        let mut refusal = status::of_refusal(&Refusal::NotFound { what: "run" });
        refusal.metadata_mut().insert("x-kept", "as it was".parse().unwrap());
        Err(refusal)
    }

    /// Never answers.
    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        self.note(&request);
        let _open = self.enter();
        std::future::pending().await
    }

    /// One run, of this server's name.
    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Result<Response<pb::ListQueueResponse>, Status> {
        self.note(&request);
        let run = Run { run_id: self.name.to_owned(), ..Default::default() };
        Ok(Response::new(pb::ListQueueResponse { runs: vec![run] }))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::CancelRunResponse>, Status> {
        self.note(&request);
        Ok(Response::new(pb::CancelRunResponse::default()))
    }

    async fn get_run_history(
        &self,
        request: Request<pb::GetRunHistoryRequest>,
    ) -> Result<Response<pb::GetRunHistoryResponse>, Status> {
        self.note(&request);
        Ok(Response::new(pb::GetRunHistoryResponse::default()))
    }
}

#[tonic::async_trait]
impl StreamService for State {
    type AttachRunStream = Answers<stream::AttachRunResponse>;

    /// One frame, then nothing for ever; of [`FLOOD`], frames for ever.
    async fn attach_run(&self, request: Request<stream::AttachRunRequest>) -> Result<Response<Self::AttachRunStream>, Status> {
        self.note(&request);
        let open = self.enter();
        if request.into_inner().run_id == FLOOD {
            let flooded = Arc::clone(&self.flooded);
            let frames = std::iter::repeat_with(move || {
                let _held = &open;
                flooded.fetch_add(1, Ordering::SeqCst);
                let progress = stream::Progress { cursor: "x".repeat(4 * 1024), ..stream::Progress::default() };
                Ok(stream::AttachRunResponse { frame: Some(attach_run_response::Frame::Progress(progress)) })
            });
            return Ok(Response::new(Box::pin(tokio_stream::iter(frames))));
        }
        let progress = stream::Progress { seq: 1, ..stream::Progress::default() };
        let first = stream::AttachRunResponse { frame: Some(attach_run_response::Frame::Progress(progress)) };
        let rest = tokio_stream::pending().map(move |frame| {
            let _held = &open;
            frame
        });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)).chain(rest))))
    }

    type AttachThreadStream = Answers<stream::AttachThreadResponse>;

    async fn attach_thread(&self, _: Request<stream::AttachThreadRequest>) -> Result<Response<Self::AttachThreadStream>, Status> {
        Err(Status::unimplemented("no test follows threads here"))
    }

    type AppendStream = Answers<stream::AppendResponse>;

    /// An ack with a growing number for each message; at the end of the request, STEP_CONFLICT in the trailers.
    async fn append(&self, request: Request<Streaming<stream::AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        self.note(&request);
        let open = self.enter();
        let mut number = 0;
        let acks = request.into_inner().map(move |message| {
            let _held = &open;
            message?;
            number += 1;
            let ack = stream::AppendAck { number, position: None };
            Ok(stream::AppendResponse { message: Some(append_response::Message::Ack(ack)) })
        });
        let conflict = status::of_refusal(&Refusal::StepConflict { problem: "the end".to_owned() });
        Ok(Response::new(Box::pin(acks.chain(tokio_stream::once(Err(conflict))))))
    }
}
