//! What a relay reads from Postgres, and the only file that knows how. It never writes.

use crate::config::Config;
use futures::future::BoxFuture;
use runmesh_bus::RunKey;
use runmesh_domain::chain::Chain;
use runmesh_domain::fold::RunView;
use runmesh_domain::id::{OrgId, RunId, ThreadId, UserId};
use runmesh_domain::journal::Step;
use runmesh_domain::limits::Queues;
use runmesh_domain::log::Position;
use runmesh_domain::path::StepKey;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::{Finished, Record, Transition};
use runmesh_domain::{Fault, Refusal, Result};
use runmesh_store::runs::{self, BlockedBy, Turn};
use runmesh_store::{Db, Role, Scope, StoreConfig, Tx, orgs, steps};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed32;
use runmesh_wire::pb::run::run::BlockedBy as WireBlockedBy;
use runmesh_wire::pb::stream as pb;
use secrecy::ExposeSecret as _;
use std::time::Duration;

/// Postgres, read only. Clones share its connections. Those who append, those who attach and the probe have connections of their
/// own: however many attach, no attempt is kept from its log, and no log that is behind goes unnoticed.
#[derive(Debug, Clone)]
pub struct Truth {
    /// For those who append, and by [`Db::read`] for those who attach.
    db: Db,
    probe: Db,
    queues: Queues,
}

/// For whom something is read, and so over which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Somebody who appends.
    Writer,
    /// Somebody who is attached.
    Viewer,
    /// The look at quiet runs.
    Probe,
}

/// What a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Its state.
    pub state: StateName,
    queue_position: u32,
    blocked_by: Option<BlockedBy>,
}

/// A run as somebody who attaches finds it.
#[derive(Debug)]
pub struct Seen {
    pub key: RunKey,
    /// The order in which the thread accepted its turn.
    pub turn_number: u64,
    /// The turn's place in the conversation; absent while it is QUEUED.
    pub place: Option<u64>,
    pub waits: Waits,
    /// What Postgres has of it, when it is over.
    pub journal: Option<Journal>,
}

/// Where a thread stands.
#[derive(Debug, Clone, Copy)]
pub enum Current {
    /// A turn holds the thread.
    Open(Turn),
    /// Nothing is: this was the last.
    Over(Turn),
}

/// Everything that Postgres has of a run.
#[derive(Debug)]
pub struct Journal {
    pub state: StateName,
    pub position: Position,
    fence: u64,
    steps: Vec<Step>,
    pub finished: Option<Finished>,
}

impl Truth {
    /// Connects as a reader.
    pub async fn connect(config: &Config) -> Result<Self> {
        let mut store = StoreConfig::new(config.postgres_url.expose_secret(), "stream-relay");
        store.role = Role::Reader;
        store.connections = config.postgres_connections;
        store.read_connections = config.postgres_read_connections;
        store.read_timeout = Duration::from_millis(config.postgres_read_timeout_ms);
        // A relay holds no lease and beats no heart.
        store.heartbeat_connections = 1;
        let probe = StoreConfig { connections: config.postgres_probe_connections, ..store.clone() };
        // Of its pools the probe uses the one of commands; the others open no connection.
        let (db, probe) = futures::try_join!(Db::connect(&store), Db::connect(&probe))?;
        Ok(Self { db, probe, queues: config.queues })
    }

    /// The run for a person of the org. Somebody who is not of the org hears that there is no such run.
    pub async fn attach(&self, org: OrgId, user: UserId, run: RunId) -> Result<Seen> {
        let queues = self.queues;
        let seen = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                check_member(tx, org, user, "run").await?;
                let (row, waits) = standing(tx, org, run, &queues).await?;
                let (key, turn_number, place) = (RunKey::from(&row.run), row.run.turn_number, row.run.place);
                let journal = if waits.state.is_terminal() { Some(journal(tx, org, row).await?) } else { None };
                Ok(Seen { key, turn_number, place, waits, journal })
            })
        });
        seen.await
    }

    /// The turn that holds a thread, or else the last one of its conversation, which is over.
    pub async fn current_turn(&self, org: OrgId, user: UserId, thread: ThreadId) -> Result<Option<Current>> {
        let current = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                check_member(tx, org, user, "thread").await?;
                if let Some(turn) = runs::open_turn(tx, org, thread).await? {
                    return Ok(Some(Current::Open(turn)));
                }
                Ok(runs::last_turn(tx, org, thread).await?.map(Current::Over))
            })
        });
        current.await
    }

    /// The turn that follows the turn of run `after` in the conversation, or the first one, once there is one.
    pub async fn next_turn(&self, org: OrgId, user: UserId, thread: ThreadId, after: Option<RunId>) -> Result<Option<Turn>> {
        let next = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                check_member(tx, org, user, "thread").await?;
                runs::next_turn(tx, org, thread, after).await
            })
        });
        next.await
    }

    /// What a run waits for. Asked by the probe.
    pub async fn waits(&self, org: OrgId, run: RunId) -> Result<Waits> {
        let queues = self.queues;
        let waits = self.probe.tx(Scope::Reader(org), move |tx| {
            Box::pin(async move { standing(tx, org, run, &queues).await.map(|(_, waits)| waits) })
        });
        waits.await
    }

    /// Everything that Postgres has of a run.
    pub async fn journal(&self, org: OrgId, run: RunId) -> Result<Journal> {
        let read = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                let row = runs::get(tx, org, run).await?;
                journal(tx, org, row).await
            })
        });
        read.await
    }

    /// Which steps of a run were journaled by attempts before `fence`. Asked by those who append.
    pub async fn journaled_before(&self, org: OrgId, run: RunId, fence: u64) -> Result<Vec<StepKey>> {
        let steps =
            self.db.tx(Scope::Reader(org), move |tx| Box::pin(async move { steps::journaled_before(tx, run, fence).await }));
        steps.await
    }

    /// State and version of runs of any org. Asked by the probe.
    pub async fn states(&self, runs: Vec<RunId>) -> Result<Vec<(RunId, StateName, u64)>> {
        let states = self.probe.tx(Scope::System, move |tx| {
            let runs = runs.clone();
            Box::pin(async move { runs::states_of(tx, &runs).await })
        });
        states.await
    }

    /// What brings a log up: transitions above a version, and the position of the same moment.
    pub async fn rows(&self, whom: For, run: RunId, after_version: u64) -> Result<Rows> {
        let rows = rows(run, after_version);
        match whom {
            For::Writer => self.db.tx(Scope::System, rows).await,
            For::Viewer => self.db.read(Scope::System, rows).await,
            For::Probe => self.probe.tx(Scope::System, rows).await,
        }
    }
}

/// Transitions in order, each with whether it is marked as logged, and the position of the same moment.
type Rows = (Position, Vec<(Transition, bool)>);

fn rows(run: RunId, after_version: u64) -> impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<Rows>> + Send + Sync {
    move |tx| {
        Box::pin(async move {
            let (position, _, rows) = runs::catch_up_rows(tx, run, after_version).await?;
            Ok((position, rows))
        })
    }
}

/// Somebody who is not of the org hears that there is no such thing.
async fn check_member(tx: &mut Tx, org: OrgId, user: UserId, what: &'static str) -> Result<()> {
    orgs::role(tx, org, user).await?.ok_or(Refusal::NotFound { what })?;
    Ok(())
}

async fn standing(tx: &mut Tx, org: OrgId, run: RunId, queues: &Queues) -> Result<(runs::RunRow, Waits)> {
    let runs::RunState { row, queue_position } = runs::state_of(tx, org, run).await?;
    let state = row.run.state.name();
    let blocked_by = if state == StateName::Ready { runs::blocked_by(tx, run, queues).await? } else { None };
    Ok((row, Waits { state, queue_position, blocked_by }))
}

async fn journal(tx: &mut Tx, org: OrgId, row: runs::RunRow) -> Result<Journal> {
    let (run, state) = (row.run.id, row.run.state.name());
    let steps = steps::load(tx, run).await?;
    let mut transitions = runs::history(tx, org, run).await?;
    // The fence of the row also rises when the run is taken from an attempt; the log shows attempts.
    let began = transitions.iter().rev().find(|transition| transition.record == Record::AttemptStarted);
    let fence = began.map_or(0, |transition| transition.fence);
    let finished = if state.is_terminal() {
        match transitions.pop().map(|transition| transition.record) {
            Some(Record::Finished(finished)) => Some(*finished),
            _ => return Err(Fault::internal(format!("{run} is over and its last transition does not say how")).into()),
        }
    } else {
        None
    };
    Ok(Journal { state, position: row.position, fence, steps, finished })
}

impl Journal {
    /// The view that it makes, as of this place in the log.
    pub fn into_view(self, seq: u64, chain: Chain) -> RunView {
        RunView::of_journal(self.fence, seq, chain, &self.steps, self.finished)
    }
}

impl Waits {
    /// A run that waits for no place in a queue.
    pub const fn of_state(state: StateName) -> Self {
        Self { state, queue_position: 0, blocked_by: None }
    }

    /// Whether the run waits for a worker or for its turn.
    pub const fn is_waiting(self) -> bool {
        matches!(self.state, StateName::Queued | StateName::Ready)
    }

    /// As a status, whatever the state is.
    pub fn as_status(self) -> pb::Status {
        let blocked_by = match self.blocked_by {
            None => WireBlockedBy::Unspecified,
            Some(BlockedBy::UserLimit) => WireBlockedBy::UserLimit,
            Some(BlockedBy::OrgLimit) => WireBlockedBy::OrgLimit,
            Some(BlockedBy::NoCapableWorker) => WireBlockedBy::NoCapableWorker,
            Some(BlockedBy::SetAside) => WireBlockedBy::SetAside,
        };
        pb::Status {
            state: self.state.into_wire().into(),
            queue_position: signed32(self.queue_position),
            blocked_by: blocked_by.into(),
            log_unavailable: false,
        }
    }

    /// What a viewer is told; nothing while the run moves and its log can be read.
    pub fn status(self, is_log_away: bool) -> Option<pb::Status> {
        (self.is_waiting() || is_log_away).then(|| pb::Status { log_unavailable: is_log_away, ..self.as_status() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_has_a_status() {
        assert!(Waits::of_state(StateName::Queued).status(false).is_some());
        assert_eq!(Waits::of_state(StateName::Running).status(false), None);
        let away = Waits::of_state(StateName::Running).status(true);
        assert!(away.is_some_and(|status| status.log_unavailable));
    }
}
