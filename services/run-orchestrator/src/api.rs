//! The rpcs. A method is: who calls, what is asked, the command, the answer.

mod agent;
mod org;
mod run;
mod thread;
mod worker;

use crate::auth::{self, Caller};
use crate::idempotent::{self, Replayable};
use crate::mesh::Mesh;
use crate::sessions::Hand;
use futures::future::BoxFuture;
use prost::Message;
use runmesh_domain::{Error, Result};
use runmesh_store::runs::{Claimed, Committed};
use runmesh_store::{PageRequest, Scope, Tx};
use runmesh_wire::pb;
use runmesh_wire::status;
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Response, Status};

/// The largest message of any method, both ways.
const MESSAGE_BYTES_MAX: usize = runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;

/// Serves every service that the orchestrator implements.
pub struct Api(Mesh);

/// The services' names, for health.
pub const SERVICES: &[&str] = &[
    "runmesh.org.v1.OrgService",
    "runmesh.agent.v1.AgentService",
    "runmesh.thread.v1.ThreadService",
    "runmesh.run.v1.RunService",
    "runmesh.worker.v1.WorkerService",
];

/// The routes of all of them.
pub fn routes(mesh: &Mesh) -> Routes {
    let api = Arc::new(Api(mesh.clone()));
    let max = MESSAGE_BYTES_MAX;
    let org = pb::org::org_service_server::OrgServiceServer::from_arc(Arc::clone(&api));
    let agent = pb::agent::agent_service_server::AgentServiceServer::from_arc(Arc::clone(&api));
    let thread = pb::thread::thread_service_server::ThreadServiceServer::from_arc(Arc::clone(&api));
    let run = pb::run::run_service_server::RunServiceServer::from_arc(Arc::clone(&api));
    let worker = pb::worker::worker_service_server::WorkerServiceServer::from_arc(api);
    Routes::new(org.max_decoding_message_size(max))
        .add_service(agent.max_decoding_message_size(max))
        .add_service(thread.max_decoding_message_size(max))
        .add_service(run.max_decoding_message_size(max))
        // A model step and its tool results come in one message; each has its own bound.
        .add_service(worker.max_decoding_message_size(4 * max).max_encoding_message_size(4 * max))
}

/// A command's result as a method's answer. Faults are logged here, where they leave the process.
fn answer<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| {
        if let Error::Fault(fault) = &error {
            tracing::error!(%fault, "a call failed");
        }
        status::of(&error)
    })
}

/// What a mutating command gives: the answer, and what others are to be told after the commit.
struct Done<R> {
    answer: R,
    committed: Vec<Committed>,
    /// A run that was claimed in the same transaction, and for whom.
    claimed: Option<(Arc<Hand>, Claimed)>,
}

impl<R> Done<R> {
    /// Nothing to tell.
    const fn quiet(answer: R) -> Self {
        Self { answer, committed: Vec::new(), claimed: None }
    }

    /// These transitions to tell.
    const fn with(answer: R, committed: Vec<Committed>) -> Self {
        Self { answer, committed, claimed: None }
    }
}

impl Mesh {
    /// A user's reading call: one transaction in the org, after the caller's membership is known.
    async fn read<T, F>(&self, caller: Caller, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        self.db
            .tx(Scope::Org(caller.org), move |tx| {
                let work = Arc::clone(&work);
                Box::pin(async move {
                    auth::require_member(tx, caller).await?;
                    work(tx).await
                })
            })
            .await
    }

    /// A user's mutating call, whole and once: membership, the first answer if this is a repeat, the command, its answer kept.
    async fn mutate<Q, R, F>(&self, caller: Caller, method: &'static str, key: String, body: &Q, work: F) -> Result<R>
    where
        Q: Message,
        R: Replayable + Send + Sync,
        F: for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, Result<Done<R>>> + Send + Sync + 'static,
    {
        let key = Arc::new(idempotent::key(caller, method, key, body)?);
        let work = Arc::new(work);
        let mesh = self.clone();
        self.whole(async move {
            let done = mesh
                .db
                .tx(Scope::Org(caller.org), move |tx| {
                    let (key, work) = (Arc::clone(&key), Arc::clone(&work));
                    Box::pin(async move {
                        auth::require_member(tx, caller).await?;
                        if let Some(answer) = idempotent::replay(tx, &key).await? {
                            return Ok(Done::quiet(answer));
                        }
                        let done = work(tx).await?;
                        idempotent::remember(tx, &key, &done.answer).await?;
                        Ok(done)
                    })
                })
                .await?;
            mesh.tell(done.committed);
            if let Some((hand, mut claimed)) = done.claimed {
                hand.spend();
                mesh.tell(std::mem::take(&mut claimed.committed));
                mesh.assign(&hand.stream, claimed).await?;
            }
            Ok(done.answer)
        })
        .await
    }
}

/// The page that is asked for; a size below zero is refused, one over the bound is coerced by the store.
fn page(size: i32, page_token: String) -> Result<PageRequest> {
    Ok(PageRequest { page_size: runmesh_wire::convert::unsigned("page_size", size)?, page_token })
}
