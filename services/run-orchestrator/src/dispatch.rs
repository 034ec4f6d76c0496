//! Hands READY runs to the sessions that this replica serves: woken by commits here, by other replicas over NATS, by new
//! credits when the last look left something, and by a slow poll in case a wake-up was lost.

use crate::assign::Assigner;
use crate::commands::runs::ClaimRuns;
use crate::sessions::{Sessions, Stream};
use runmesh_bus::Bus;
use runmesh_command::WorkSignal;
use runmesh_domain::limits::Queues;
use runmesh_domain::{Fault, Result};
use runmesh_host::Lifecycle;
use runmesh_store::runs::{ClaimFor, Claims, Left};
use runmesh_store::{Db, Scope};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs of one claim: one transaction, short enough that another org's first run never waits long.
const CLAIM_MAX: u32 = 64;

/// How soon to look again for runs of orgs that another claim held: it is over within a few milliseconds.
const SKIPPED_PAUSE: Duration = Duration::from_millis(20);

/// Claims runs for the sessions of this replica.
pub struct Dispatcher {
    pub db: Db,
    pub sessions: Arc<Sessions>,
    pub assigner: Assigner,
    pub work: Arc<WorkSignal>,
    pub queues: Queues,
    /// The pause between looks that nothing woke.
    pub poll: Duration,
}

/// Starts the loops.
pub fn start(dispatcher: Dispatcher, bus: Bus, life: &Lifecycle) {
    let (work, soft) = (Arc::clone(&dispatcher.work), life.soft().clone());
    life.spawn("wake-ups", async move { soft.run_until_cancelled(pass_wake_ups(&bus, &work)).await.unwrap_or(Ok(())) });
    let soft = life.soft().clone();
    life.spawn("dispatch", async move {
        dispatcher.dispatch(&soft).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Turns wake-ups of other replicas into local ones.
async fn pass_wake_ups(bus: &Bus, work: &WorkSignal) -> Result<()> {
    let mut wakes = bus.wakes().await?;
    while wakes.next().await.is_some() {
        work.work_arrived();
    }
    Err(Fault::Unavailable { part: "nats", detail: "the wake-up subscription ended".into() }.into())
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

impl Dispatcher {
    /// Goes on until the replica drains. A round is never left half way: what it claimed would reach nobody.
    async fn dispatch(&self, soft: &CancellationToken) {
        while !soft.is_cancelled() {
            let next = if self.work.take_work() { self.claim_for_all().await } else { Next::Rest };
            if next != Next::Rest {
                self.work.keep_work();
            }
            let poll = match next {
                Next::Now => continue,
                Next::Soon => SKIPPED_PAUSE,
                Next::Rest | Next::Wait => self.poll,
            };
            tokio::select! {
                () = soft.cancelled() => {}
                () = self.work.changed() => {}
                () = tokio::time::sleep(poll) => self.work.keep_work(),
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
        let Claims { claimed, left, aside } = self.db.run(Scope::System, ClaimRuns { claim }).await?;
        for one in &aside {
            tracing::error!(run = %one.run, problem = one.problem, "a run was set aside: it cannot be read; `runmesh cancel` ends it");
        }
        // There is room for those that stood behind it.
        let left = if aside.is_empty() { left } else { Left::Skipped };
        let got = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
        for run in claimed {
            self.assigner.assign(stream, run).await;
        }
        Ok((got, left))
    }
}
