//! Hands READY runs to the sessions that this replica serves: woken by commits here, by other replicas over NATS, by new
//! credits when the last look left something, and by a slow poll in case a wake-up was lost.

use crate::assign::Assigner;
use crate::commands::runs::ClaimRuns;
use crate::sessions::{Reserved, Sessions};
use runmesh_bus::Bus;
use runmesh_command::WorkSignal;
use runmesh_domain::limits::Queues;
use runmesh_domain::{Fault, Result};
use runmesh_host::Lifecycle;
use runmesh_store::Db;
use runmesh_store::runs::{ClaimFor, ClaimRound, Claims, Left};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs of one claim for all sessions: one transaction, short enough that another org's first run never waits long.
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

/// What one round over the orgs left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// Nothing is READY, as far as this replica may know.
    Rest,
    /// There may be more, for which nobody has room, or which something holds back: look again when that changes.
    Wait,
    /// Others were at it: look again shortly.
    Soon,
}

impl Dispatcher {
    /// Goes on until the replica drains. A claim is never left half way: what it claimed would reach nobody.
    async fn dispatch(&self, soft: &CancellationToken) {
        let mut round = ClaimRound::default();
        while !soft.is_cancelled() {
            let next = if self.work.take_work() { self.claim_round(&mut round, soft).await } else { Next::Rest };
            if next != Next::Rest {
                self.work.keep_work();
            }
            let poll = match next {
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

    /// Claims for all sessions with credits, until every org with READY runs was looked at or no session has credits left.
    async fn claim_round(&self, round: &mut ClaimRound, soft: &CancellationToken) -> Next {
        round.restart();
        let mut next = Next::Rest;
        while !soft.is_cancelled() {
            let reserved = self.sessions.reserve_all(CLAIM_MAX);
            // What nobody has room for was not looked for, so there may be anything.
            if reserved.is_empty() {
                return next.max(Next::Wait);
            }
            match self.claim(reserved, round).await {
                Ok((then, true)) => next = next.max(then),
                Ok((then, false)) => return next.max(then),
                Err(error) => {
                    tracing::warn!(%error, "a claim failed");
                    return next.max(Next::Wait);
                }
            }
        }
        next.max(Next::Wait)
    }

    /// One claim, from where the round is. Answers whether the round goes on.
    async fn claim(&self, mut reserved: Vec<Reserved>, round: &mut ClaimRound) -> Result<(Next, bool)> {
        let sessions = reserved.iter().map(Reserved::room).collect();
        let claim = ClaimFor { sessions, limit: CLAIM_MAX, queues: self.queues, round: round.clone() };
        let Claims { claimed, left, has_more, round: reached, lost, aside } = self.db.run_background(ClaimRuns { claim }).await?;
        *round = reached;
        for session in lost {
            tracing::debug!(%session, "a session that is lost gets no runs");
        }
        for one in &aside {
            tracing::error!(run = %one.run, problem = one.problem, "a run was set aside: it cannot be read; `runmesh cancel` ends it");
        }
        let next = match left {
            // There is room for those that stood behind it.
            _ if !aside.is_empty() => Next::Soon,
            Left::Skipped => Next::Soon,
            Left::Perhaps => Next::Wait,
            Left::Nothing => Next::Rest,
        };
        for run in claimed {
            let holder = run.row.run.state.session();
            if let Some(reserved) = reserved.iter_mut().find(|one| Some(one.session()) == holder) {
                self.assigner.assign(&reserved.spend(), run).await;
            }
        }
        Ok((next, has_more))
    }
}
