//! Hands READY runs to the sessions that this replica serves: woken by commits here, by other replicas over NATS, by new
//! credits when the last look left something, and by a slow poll in case a wake-up was lost.

use crate::mesh::Mesh;
use crate::sessions::Stream;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Fault, Result, limits};
use runmesh_host::Lifecycle;
use runmesh_store::runs::{ClaimFor, Claimed, Claims, Left};
use runmesh_store::{Scope, runs};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::pb::worker as pb;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs of one claim: one transaction, short enough that another org's first run never waits long.
const CLAIM_MAX: u32 = 64;

/// How soon to look again for runs of orgs that another claim held: it is over within a few milliseconds.
const SKIPPED_PAUSE: Duration = Duration::from_millis(20);
/// How long a worker may take to make room for an assignment that it has credit for.
const ASSIGN_LIMIT: Duration = Duration::from_secs(1);

/// Starts the loops.
pub fn start(mesh: &Mesh, life: &Lifecycle) {
    let (waker, soft) = (mesh.clone(), life.soft().clone());
    life.spawn("wake-ups", async move { soft.run_until_cancelled(waker.listen()).await.unwrap_or(Ok(())) });
    let (dispatcher, soft) = (mesh.clone(), life.soft().clone());
    life.spawn("dispatch", async move {
        dispatcher.dispatch(&soft).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

/// What one round over the sessions left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// Nothing is READY, as far as this replica may know.
    Rest,
    /// There may be more, for which nobody has room, or which something holds back: look again when that changes.
    Wait,
    /// Others were at it: look again shortly.
    Soon,
    /// A session got as many as it asked for: look again now.
    Now,
}

impl Mesh {
    /// Turns wake-ups of other replicas into local ones.
    async fn listen(&self) -> Result<()> {
        let mut wakes = self.bus.wakes().await?;
        while wakes.next().await.is_some() {
            self.ready.work();
        }
        Err(Fault::Unavailable { part: "nats", detail: "the wake-up subscription ended".into() }.into())
    }

    /// Goes on until the replica drains. A round is never left half way: what it claimed would reach nobody.
    async fn dispatch(&self, soft: &CancellationToken) {
        while !soft.is_cancelled() {
            let next = if self.ready.take() { self.claim_for_all().await } else { Next::Rest };
            if next != Next::Rest {
                self.ready.keep();
            }
            let poll = match next {
                Next::Now => continue,
                Next::Soon => SKIPPED_PAUSE,
                Next::Rest | Next::Wait => self.leases.poll(),
            };
            tokio::select! {
                () = soft.cancelled() => {}
                () = self.ready.changed() => {}
                () = tokio::time::sleep(poll) => self.ready.keep(),
            }
        }
    }

    /// One round over all sessions with credits.
    async fn claim_for_all(&self) -> Next {
        // Without a session that has room nobody looked, so there may be anything.
        let mut next = None;
        for stream in self.sessions.all() {
            let wanted = stream.take(CLAIM_MAX);
            if wanted == 0 {
                continue;
            }
            let (got, then) = match self.claim_for(&stream, wanted).await {
                Ok((got, _)) if got == wanted => (got, Next::Now),
                Ok((got, Left::Skipped)) => (got, Next::Soon),
                Ok((got, Left::Perhaps)) => (got, Next::Wait),
                Ok((got, Left::Nothing)) => (got, Next::Rest),
                Err(error) => {
                    tracing::warn!(session = %stream.session, %error, "a claim failed");
                    (0, Next::Wait)
                }
            };
            stream.give_back(wanted - got.min(wanted));
            next = next.max(Some(then));
        }
        next.unwrap_or(Next::Wait)
    }

    async fn claim_for(&self, stream: &Arc<Stream>, limit: u32) -> Result<(u32, Left)> {
        let claim = ClaimFor { session: stream.session, limit, queues: self.queues };
        let Claims { claimed, left, aside } =
            self.db.tx(Scope::System, move |tx| Box::pin(async move { runs::claim(tx, claim).await })).await?;
        for one in &aside {
            tracing::error!(run = %one.run, problem = one.problem, "a run was set aside: it cannot be read; `runmesh cancel` ends it");
        }
        // There is room for those that stood behind it.
        let left = if aside.is_empty() { left } else { Left::Skipped };
        let got = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
        for mut run in claimed {
            self.tell(std::mem::take(&mut run.committed));
            self.assign(stream, run).await;
        }
        Ok((got, left))
    }

    /// Sends the assignment, or gives the run back at once when there is nobody to send it to. One that is sent and never arrives
    /// is taken back when the session's heartbeats do not name it.
    pub async fn assign(&self, stream: &Stream, claimed: Claimed) {
        let lease = lease_of(stream, &claimed);
        let (run, session) = (lease.run, stream.session);
        let sent = match self.assignment(lease, claimed) {
            Ok(assignment) => {
                let message = pb::claim_response::Message::Assignment(assignment);
                let answer = pb::ClaimResponse { message: Some(message) };
                stream.answers.send_timeout(Ok(answer), ASSIGN_LIMIT).await.is_ok()
            }
            Err(error) => {
                tracing::error!(%run, %error, "an assignment could not be made");
                false
            }
        };
        if sent {
            return;
        }
        tracing::debug!(%session, %run, "a session went away, or does not read, before its assignment");
        match self.system(move |tx| Box::pin(async move { runs::release(tx, lease, None).await })).await {
            Ok((_, committed)) => self.tell(committed),
            Err(error) => tracing::debug!(%run, %error, "not given back: the heartbeats that do not name it will"),
        }
    }

    fn assignment(&self, lease: LeaseClaim, claimed: Claimed) -> Result<pb::Assignment> {
        let Claimed { row, spec, context, committed: _ } = claimed;
        let run = &row.run;
        let token = self.run_tokens.sign(&lease, limits::RUN_TOKEN_TTL).map_err(|error| Fault::internal(error.to_string()))?;
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
            cancel_requested: run.is_cancel_requested(),
            traceparent,
            context,
        })
    }
}

const fn lease_of(stream: &Stream, claimed: &Claimed) -> LeaseClaim {
    let run = &claimed.row.run;
    LeaseClaim { org: run.org, thread: run.thread, run: run.id, fence: run.fence, session: stream.session }
}

/// The store's context as the wire's.
pub fn wire_context(context: runmesh_store::steps::Context) -> Context {
    let runmesh_store::steps::Context { messages, steps, next_page_token } = context;
    Context { messages, steps, next_page_token: next_page_token.unwrap_or_default() }
}
