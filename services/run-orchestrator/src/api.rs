//! The rpcs. A method is: who calls, what is asked, the command, the answer.

mod agent;
mod org;
mod run;
mod thread;
mod worker;

use crate::auth::{self, Caller};
use crate::idempotent::{self, By, Mutation, Replayable};
use crate::mesh::Mesh;
use crate::sessions::Hand;
use crate::settle::Try;
use futures::future::BoxFuture;
use runmesh_bus::CancelHint;
use runmesh_domain::run::Run;
use runmesh_domain::{Error, Refusal, Result};
use runmesh_store::runs::{Claimed, Committed, RunRow};
use runmesh_store::{PageRequest, Scope, Tx, idempotency};
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
        // A page of a context holds at least a model step and one result of it; each has its own bound.
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
    /// For the holders of runs that are to be canceled. They obey at once, so they must not hear of what was rolled back.
    hints: Vec<CancelHint>,
}

impl<R> Done<R> {
    /// Nothing to tell.
    const fn quiet(answer: R) -> Self {
        Self::with(answer, Vec::new())
    }

    /// These transitions to tell.
    const fn with(answer: R, committed: Vec<Committed>) -> Self {
        Self { answer, committed, claimed: None, hints: Vec::new() }
    }

    /// And hints for the holders of those among `runs` that have one and are to be canceled.
    fn hinting<'a>(mut self, runs: impl IntoIterator<Item = &'a RunRow>) -> Self {
        let asked = runs.into_iter().map(|row| &row.run).filter(|run| run.is_cancel_requested());
        let hint = |run: &Run| Some(CancelHint { run: run.id, fence: run.fence, session: run.state.session()? });
        self.hints.extend(asked.filter_map(hint));
        self
    }
}

impl Mesh {
    /// A user's reading call: one transaction in the org, after the caller's membership is known, on the connections of reads.
    async fn read<T, F>(&self, caller: Caller, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        self.db
            .read(Scope::Org(caller.org), move |tx| {
                let work = Arc::clone(&work);
                Box::pin(async move {
                    auth::require_member(tx, caller).await?;
                    work(tx).await
                })
            })
            .await
    }

    /// A user's mutating call, whole and once: who may, the first answer if this is a repeat, the command, its answer kept.
    ///
    /// `read` makes of the request what the command wants. That something is wrong with the fields is told after the look-up:
    /// a repeat hears its first answer, and who is no member that there is no such org.
    async fn mutate<Q, P, F>(&self, by: By, request: Q, read: impl FnOnce(Q) -> Result<P>, work: F) -> Result<Q::Answer>
    where
        Q: Mutation,
        P: Clone + Send + Sync + 'static,
        F: for<'a> Fn(&'a mut Tx, P) -> BoxFuture<'a, Result<Done<Q::Answer>>> + Send + Sync + 'static,
    {
        let mut request = request;
        let key = Arc::new(idempotent::key(by, &mut request)?);
        let wanted = Arc::new(read(request));
        let work = Arc::new(work);
        let mesh = self.clone();
        self.whole(async move {
            let transact = |again: Try| {
                let (key, wanted, work) = (Arc::clone(&key), Arc::clone(&wanted), Arc::clone(&work));
                mesh.db.tx(by.scope(), move |tx| {
                    let (key, wanted, work) = (Arc::clone(&key), Arc::clone(&wanted), Arc::clone(&work));
                    Box::pin(async move {
                        if let Some(answer) = idempotent::replay(tx, by, &key, again).await? {
                            return Ok(Done::quiet(answer));
                        }
                        let done = work(tx, Result::clone(&wanted)?).await?;
                        idempotent::remember(tx, &key, &done.answer).await?;
                        Ok(done)
                    })
                })
            };
            let done = match mesh.settle(by.org(), transact).await {
                Err(Error::Refused(refusal)) if idempotent::may_be_a_twins(&refusal) => mesh.twins(by, key, refusal).await?,
                done => done?,
            };
            mesh.tell(done.committed);
            for CancelHint { run, fence, session } in done.hints {
                mesh.bus.hint_cancel(run, fence, session);
            }
            if let Some((hand, mut claimed)) = done.claimed {
                hand.spend();
                mesh.tell(std::mem::take(&mut claimed.committed));
                mesh.assign(&hand.stream, claimed).await;
            }
            Ok(done.answer)
        })
        .await
    }
}

impl Mesh {
    /// The answer that a call with the same key got after this one looked for it, if what this one was refused for is that
    /// call's doing: the name that it took, the thread that it holds.
    async fn twins<R>(&self, by: By, key: Arc<idempotency::Key>, refusal: Refusal) -> Result<Done<R>>
    where
        R: Replayable + Send,
    {
        let answer = self.db.tx(by.scope(), move |tx| {
            let key = Arc::clone(&key);
            Box::pin(async move { idempotent::replay(tx, by, &key, Try::First).await })
        });
        answer.await?.map(Done::quiet).ok_or_else(|| refusal.into())
    }
}

/// The page that is asked for; a size below zero is refused, one over the bound is coerced by the store.
fn page(size: i32, page_token: String) -> Result<PageRequest> {
    Ok(PageRequest { page_size: runmesh_wire::convert::unsigned("page_size", size)?, page_token })
}
