//! Hands READY runs to the sessions that this replica serves: woken by commits here, by other replicas over NATS, by new
//! credits, and by a slow poll in case a wake-up was lost.

use crate::mesh::Mesh;
use crate::sessions::Stream;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Fault, Result, limits};
use runmesh_host::Lifecycle;
use runmesh_store::runs::{ClaimFor, Claimed};
use runmesh_store::{Scope, runs};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::pb::worker as pb;
use std::sync::Arc;

/// Runs of one claim: one transaction, short enough that another org's first run never waits long.
const CLAIM_MAX: u32 = 64;

/// Starts the loops.
pub fn start(mesh: &Mesh, life: &Lifecycle) {
    let (waker, soft) = (mesh.clone(), life.soft().clone());
    life.spawn("wake-ups", async move { soft.run_until_cancelled(waker.listen()).await.unwrap_or(Ok(())) });
    let (dispatcher, soft) = (mesh.clone(), life.soft().clone());
    life.spawn("dispatch", async move {
        soft.run_until_cancelled(dispatcher.dispatch()).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

impl Mesh {
    /// Turns wake-ups of other replicas into local ones.
    async fn listen(&self) -> Result<()> {
        let mut wakes = self.bus.wakes().await?;
        while wakes.next().await.is_some() {
            self.ready.notify_one();
        }
        Err(Fault::Unavailable { part: "nats", detail: "the wake-up subscription ended".into() }.into())
    }

    async fn dispatch(&self) {
        loop {
            let more = self.claim_for_all().await;
            if more {
                continue;
            }
            tokio::select! {
                () = self.ready.notified() => {}
                () = tokio::time::sleep(self.leases.poll()) => {}
            }
        }
    }

    /// One round over all sessions with credits. True when a session got as many as it asked for: there may be more.
    async fn claim_for_all(&self) -> bool {
        let mut more = false;
        for stream in self.sessions.all() {
            let wanted = stream.take(CLAIM_MAX);
            if wanted == 0 {
                continue;
            }
            let got = match self.claim_for(&stream, wanted).await {
                Ok(got) => got,
                Err(error) => {
                    tracing::debug!(session = %stream.session, %error, "no claim for a session");
                    0
                }
            };
            stream.give_back(wanted - got.min(wanted));
            more |= got == wanted;
        }
        more
    }

    async fn claim_for(&self, stream: &Arc<Stream>, limit: u32) -> Result<u32> {
        let claim = ClaimFor { session: stream.session, limit, queues: self.queues, wait: true };
        let claimed = self.db.tx(Scope::System, move |tx| Box::pin(async move { runs::claim(tx, claim).await })).await?;
        let got = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
        for mut run in claimed {
            self.tell(std::mem::take(&mut run.committed));
            self.assign(stream, run).await?;
        }
        Ok(got)
    }

    /// Sends the assignment. One that never arrives is taken back when the session's heartbeats do not name it.
    pub async fn assign(&self, stream: &Stream, claimed: Claimed) -> Result<()> {
        let assignment = self.assignment(stream, claimed)?;
        let message = pb::claim_response::Message::Assignment(assignment);
        let answer = pb::ClaimResponse { message: Some(message) };
        if stream.answers.send(Ok(answer)).await.is_err() {
            tracing::debug!(session = %stream.session, "a session went away before its assignment");
        }
        Ok(())
    }

    fn assignment(&self, stream: &Stream, claimed: Claimed) -> Result<pb::Assignment> {
        let Claimed { row, spec, context, committed: _ } = claimed;
        let run = &row.run;
        let claim = LeaseClaim { org: run.org, thread: run.thread, run: run.id, fence: run.fence, session: stream.session };
        let token = self.run_tokens.sign(&claim, limits::RUN_TOKEN_TTL).map_err(|error| Fault::internal(error.to_string()))?;
        let traceparent = spec.traceparent.clone();
        let context = context.map(|context| wire_context(context).into_wire());
        Ok(pb::Assignment {
            lease: Some(HeldRun { run: run.id, fence: run.fence }.into_wire()),
            run_token: token,
            thread_id: run.thread.to_string(),
            org_id: run.org.to_string(),
            turn_number: runmesh_wire::convert::signed(run.turn_number),
            spec: Some(spec.into_wire()),
            position: Some(row.position.into_wire()),
            cancel_requested: run.cancel_requested,
            traceparent,
            context,
        })
    }
}

/// The store's context as the wire's.
pub fn wire_context(context: runmesh_store::steps::Context) -> Context {
    let runmesh_store::steps::Context { messages, steps, next_page_token } = context;
    Context { messages, steps, next_page_token: next_page_token.unwrap_or_default() }
}
