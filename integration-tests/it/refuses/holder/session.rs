//! A worker session of a test's own: it claims, and drives nothing.

use crate::refuses::Known;
use crate::refuses::worker::worker;
use crate::rpc::Api;
use futures::SinkExt as _;
use futures::channel::mpsc;
use runmesh_testkit::mesh::Mesh;
use runmesh_wire::pb::worker::claim_request::Message as Said;
use runmesh_wire::pb::worker::claim_response::Message as Heard;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use runmesh_wire::pb::worker::{ClaimRequest, ClaimResponse, Credits, Hello};
use std::time::Duration;
use tonic::Streaming;

/// How long the mesh may take to say something that it has to say.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open session with room for one run. It ends when this is dropped.
pub struct Session {
    /// Its id.
    pub id: String,
    /// Calls as the worker.
    pub api: Api,
    answers: Streaming<ClaimResponse>,
    _requests: mpsc::Sender<ClaimRequest>,
}

impl Session {
    /// Opens a session under a credential of that name.
    pub async fn open(mesh: &Mesh, credential: &str) -> Self {
        let api = worker(mesh, credential);
        let (mut requests, said) = mpsc::channel(2);
        let hello = Hello { worker: "w".into(), capacity: 1, tools: vec!["*".into()], ..Hello::default() };
        for message in [Said::Hello(hello), Said::Credits(Credits { add: 1 })] {
            requests.send(ClaimRequest { message: Some(message) }).await.expect("an open stream");
        }
        let mut client = WorkerServiceClient::new(api.client().stream_channel());
        let mut answers = client.claim(said).await.expect("a stream").into_inner();
        match next(&mut answers).await {
            Heard::Welcome(welcome) => Self { id: welcome.session_id, api, answers, _requests: requests },
            other => panic!("welcome comes first: {other:?}"),
        }
    }

    /// Waits for a run: calls under its lease, and what there is to know of it.
    pub async fn assigned(&mut self, mesh: &Mesh) -> (Api, Known) {
        loop {
            if let Heard::Assignment(assignment) = next(&mut self.answers).await {
                let lease = assignment.lease.expect("a lease");
                let known = Known { run: lease.run_id, fence: lease.fence, ..Known::default() };
                return (Api::of(mesh).with_token(&assignment.run_token), known);
            }
        }
    }
}

async fn next(answers: &mut Streaming<ClaimResponse>) -> Heard {
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("an answer in time");
    answer.expect("no refusal").expect("an open stream").message.expect("a message")
}
