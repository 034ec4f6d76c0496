//! A worker session of a test's own: it claims, and drives nothing.

use crate::rpc::{Api, signed};
use futures::SinkExt as _;
use futures::channel::mpsc;
use runmesh_domain::principal::{Principal, WorkerCredential};
use runmesh_testkit::Service;
use runmesh_testkit::mesh::Mesh;
use runmesh_wire::header;
use runmesh_wire::pb::worker::claim_request::Message as Said;
use runmesh_wire::pb::worker::claim_response::Message as Heard;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use runmesh_wire::pb::worker::{Assignment, ClaimRequest, ClaimResponse, Credits, Hello};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::{Status, Streaming};

/// How long the mesh may take to say something that it has to say.
const PATIENCE: Duration = Duration::from_secs(20);

/// A credential of that name for everything.
pub fn credential(name: &str) -> WorkerCredential {
    WorkerCredential { id: name.into(), orgs: None, agents: None }
}

/// An open session with room for one run. It ends when this is dropped.
pub struct Session {
    /// Its id.
    pub id: String,
    /// Which stream of it this is.
    pub number: i64,
    /// Calls as the worker.
    pub api: Api,
    answers: Streaming<ClaimResponse>,
    requests: mpsc::Sender<ClaimRequest>,
}

impl Session {
    /// Opens a session.
    pub async fn open(mesh: &Mesh, credential: &WorkerCredential) -> Self {
        Self::reopen(mesh, 0, credential, "").await.expect("a welcome")
    }

    /// Comes back to a session through one of the gateways.
    pub async fn reopen(mesh: &Mesh, gateway: usize, credential: &WorkerCredential, session: &str) -> Result<Self, Status> {
        Self::claim(Api::at(mesh, gateway).with_token(&signed(header::WORKER_TYPE, credential)), session).await
    }

    /// Opens a session at one process, past the gateways.
    pub async fn behind(mesh: &Mesh, service: Service, credential: WorkerCredential) -> Result<Self, Status> {
        Self::reopen_behind(mesh, service, credential, "").await
    }

    /// Comes back to a session at one process, past the gateways.
    pub async fn reopen_behind(
        mesh: &Mesh,
        service: Service,
        credential: WorkerCredential,
        session: &str,
    ) -> Result<Self, Status> {
        Self::claim(Api::behind(mesh, service, &Principal::Worker(credential)), session).await
    }

    async fn claim(api: Api, session: &str) -> Result<Self, Status> {
        let (mut requests, said) = mpsc::channel(2);
        let hello =
            Hello { worker: "w".into(), capacity: 1, tools: vec!["*".into()], session_id: session.into(), ..Hello::default() };
        for message in [Said::Hello(hello), Said::Credits(Credits { add: 1 })] {
            requests.send(ClaimRequest { message: Some(message) }).await.expect("an open stream");
        }
        let mut client = WorkerServiceClient::new(api.client().stream_channel());
        let mut answers = client.claim(api.request(said)).await?.into_inner();
        match next(&mut answers).await? {
            Heard::Welcome(welcome) => Ok(Self { id: welcome.session_id, number: welcome.stream_number, api, answers, requests }),
            other => panic!("welcome comes first: {other:?}"),
        }
    }

    /// Says something, which may be nothing at all.
    pub async fn say(&mut self, message: Option<Said>) {
        self.requests.send(ClaimRequest { message }).await.expect("an open stream");
    }

    /// Says goodbye: nothing more will be said.
    pub fn close(&mut self) {
        self.requests.close_channel();
    }

    /// Waits for the end of the stream: what it was refused for.
    pub async fn refused(&mut self) -> Status {
        loop {
            if let Err(status) = next(&mut self.answers).await {
                return status;
            }
        }
    }

    /// Waits for a run.
    pub async fn assigned(&mut self) -> Assignment {
        loop {
            if let Heard::Assignment(assignment) = next(&mut self.answers).await.expect("no refusal") {
                return assignment;
            }
        }
    }

    /// Heartbeats for these runs, under the newest stream.
    pub async fn beat(&self, held: Value) -> Value {
        let beat = json!({"session_id": self.id, "stream_number": self.number, "held": held});
        self.api.ok("Heartbeat", beat).await
    }
}

async fn next(answers: &mut Streaming<ClaimResponse>) -> Result<Heard, Status> {
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("an answer in time");
    let answer = answer?.ok_or_else(|| Status::unavailable("the stream ended"))?;
    Ok(answer.message.expect("a message"))
}
