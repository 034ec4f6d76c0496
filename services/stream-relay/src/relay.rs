//! What every part of a relay shares.

use crate::hub::Hub;
use crate::seats::Seats;
use crate::thread_hub::ThreadHub;
use crate::truth::{For, Truth};
use runmesh_bus::{Bus, CaughtUp, RunKey};
use runmesh_domain::log::{Lacks, Position, Tail};
use runmesh_domain::{Fault, Result};
use runmesh_host::Lifecycle;
use runmesh_wire::pb::stream::end::Reason;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// A relay's hands: clones share everything.
#[derive(Debug, Clone)]
pub struct Relay {
    pub bus: Bus,
    pub truth: Truth,
    pub hub: Hub,
    pub threads: ThreadHub,
    pub seats: Arc<Seats>,
    pub life: Lifecycle,
    /// Append streams and the watching of runs.
    pub tasks: TaskTracker,
}

impl Relay {
    /// Waits until an attached stream must end although more may follow: its caller's credentials end at `until`, or the relay drains.
    pub fn ending(&self, until: Instant) -> impl Future<Output = Reason> + use<> {
        let drain = self.life.soft().clone();
        async move {
            tokio::select! {
                biased;
                () = sleep_until(until) => Reason::TokenExpired,
                () = drain.cancelled() => Reason::Draining,
            }
        }
    }

    /// Brings a run's log up from its rows. A log that is up already is left alone.
    pub async fn bring_up(&self, whom: For, key: RunKey, tail: Tail) -> Result<Tail> {
        self.bring_up_to(whom, key, tail, Position::default()).await
    }

    /// As [`Self::bring_up`], for a log of which a worker knows that it reached `acked`.
    pub async fn bring_up_to(&self, whom: For, key: RunKey, tail: Tail, acked: Position) -> Result<Tail> {
        let (mut after, mut with_journal) = (tail.version, false);
        loop {
            let mut rows = self.truth.rows(whom, key.run, after, with_journal).await?;
            rows.position = rows.position.later(acked);
            if rows.transitions.is_empty() && tail.is_behind(rows.position) && after > 0 {
                // No transition is new, but the log lost its end: that is known from all of them.
                after = 0;
                continue;
            }
            match self.bus.log().try_catch_up(key, &rows.known(), Some(tail)).await? {
                CaughtUp::Yes(tail) => return Ok(tail),
                // The log is further behind than it was: the rows are read from there.
                CaughtUp::Lacks(Lacks::Transition { wanted }) if wanted <= after => after = wanted - 1,
                CaughtUp::Lacks(Lacks::Journal) if !with_journal => (after, with_journal) = (0, true),
                CaughtUp::Lacks(lacks) => {
                    let detail = format!("{} cannot be read whole yet: {lacks}", key.run);
                    return Err(Fault::Unavailable { part: "postgres", detail }.into());
                }
            }
        }
    }
}
