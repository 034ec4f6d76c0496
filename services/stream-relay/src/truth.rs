//! What a relay reads from Postgres, and the only file that knows how. It never writes.

use crate::config::Config;
use crate::limits;
use crate::queue::Queue;
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
use runmesh_store::runs::{self, BlockedBy, LogRows, NewestTurn, RunRow, Standing};
use runmesh_store::{Db, Role, Scope, StoreConfig, Tx, orgs, steps};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed32;
use runmesh_wire::pb::run::run::BlockedBy as WireBlockedBy;
use runmesh_wire::pb::stream as pb;
use secrecy::ExposeSecret as _;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Postgres, read only. Clones share its connections. Those who append, those who attach and the probe have connections of their
/// own: however many attach, no attempt is kept from its log, and no log that is behind goes unnoticed.
/// Those who attach queue for theirs.
#[derive(Debug, Clone)]
pub struct Truth {
    /// For those who append, and by [`Db::read`] for those who attach.
    db: Db,
    probe: Db,
    attaches: Queue,
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
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub key: RunKey,
    /// The order in which the thread accepted its turn.
    pub turn_number: u64,
    /// The turn's place in the conversation; absent while it is QUEUED.
    pub place: Option<u64>,
    pub waits: Waits,
    /// Where its log stood at the holder's last word.
    pub position: Position,
}

/// Everything that Postgres has of a run, of one moment.
#[derive(Debug)]
pub struct Journal {
    pub state: StateName,
    pub position: Position,
    pub steps: Vec<Step>,
    pub transitions: Vec<Transition>,
    pub finished: Option<Finished>,
}

/// What a look at many threads finds.
#[derive(Debug)]
pub struct SeenThreads {
    /// The last turn of each thread that is there.
    pub turns: HashMap<ThreadId, Option<NewestTurn>>,
    /// Those of the people asked for who are members.
    pub members: HashSet<(OrgId, UserId)>,
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
        let attaches = Queue::new(config.postgres_read_connections, limits::ATTACH_QUEUE);
        Ok(Self { db, probe, attaches, queues: config.queues })
    }

    /// The run for a person of the org. Somebody who is not of the org gets the answer that there is no such run. One statement,
    /// unless the run waits in a queue.
    pub async fn attach(&self, org: OrgId, user: UserId, run: RunId) -> Result<Seen> {
        let (queues, _turn) = (self.queues, self.attaches.enter().await?);
        let seen = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                let runs::RunState { row, queue_position } = runs::seen_by(tx, org, user, run).await?;
                seen(tx, row, queue_position, &queues).await
            })
        });
        seen.await
    }

    /// The turn that holds a thread, or else the last one of its conversation, which is over.
    pub async fn current_turn(&self, org: OrgId, user: UserId, thread: ThreadId) -> Result<Option<Seen>> {
        let (queues, _turn) = (self.queues, self.attaches.enter().await?);
        let current = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                check_member(tx, org, user, "thread").await?;
                let row = runs::current_turn(tx, org, thread).await?;
                turn(tx, row, &queues).await
            })
        });
        current.await
    }

    /// The turn that follows the turn of run `after` in the conversation, or the first one, once there is one.
    pub async fn next_turn(&self, org: OrgId, user: UserId, thread: ThreadId, after: Option<RunId>) -> Result<Option<Seen>> {
        let (queues, _turn) = (self.queues, self.attaches.enter_later().await?);
        let next = self.db.read(Scope::Reader(org), move |tx| {
            Box::pin(async move {
                check_member(tx, org, user, "thread").await?;
                let row = runs::next_turn(tx, org, thread, after).await?;
                turn(tx, row, &queues).await
            })
        });
        next.await
    }

    /// The last turns of threads, and who of these people is a member, for all who wait: two statements however many they are.
    pub async fn look_at_threads(&self, threads: Vec<(OrgId, ThreadId)>, people: Vec<(OrgId, UserId)>) -> Result<SeenThreads> {
        let looked = self.probe.tx(Scope::System, move |tx| {
            let (threads, people) = (threads.clone(), people.clone());
            Box::pin(async move {
                let turns = runs::newest_turns(tx, &threads).await?;
                Ok(SeenThreads { turns, members: orgs::members_among(tx, &people).await? })
            })
        });
        looked.await
    }

    /// Everything that Postgres has of a run.
    pub async fn journal(&self, org: OrgId, run: RunId) -> Result<Journal> {
        let _turn = self.attaches.enter_later().await?;
        let read = self.db.read(Scope::Reader(org), move |tx| Box::pin(async move { journal(tx, org, run).await }));
        read.await
    }

    /// Which steps of a run were journaled by attempts before `fence`. Asked by those who append.
    pub async fn journaled_before(&self, org: OrgId, run: RunId, fence: u64) -> Result<Vec<StepKey>> {
        let steps =
            self.db.tx(Scope::Reader(org), move |tx| Box::pin(async move { steps::journaled_before(tx, run, fence).await }));
        steps.await
    }

    /// Whether a run is over. Asked by those who append.
    pub async fn is_over(&self, org: OrgId, run: RunId) -> Result<bool> {
        let row = self.db.tx(Scope::Reader(org), move |tx| Box::pin(async move { runs::get(tx, org, run).await }));
        Ok(row.await?.run.state.name().is_terminal())
    }

    /// Where runs of any org stand: state, version, place in the queue. Asked by the probe.
    pub async fn standings(&self, runs: Vec<RunId>) -> Result<Vec<Standing>> {
        let queues = self.queues;
        let standings = self.probe.tx(Scope::System, move |tx| {
            let runs = runs.clone();
            Box::pin(async move { runs::standings(tx, &runs, &queues).await })
        });
        standings.await
    }

    /// What brings a log up: transitions above a version, and what is of the same moment.
    pub async fn rows(&self, whom: For, run: RunId, after_version: u64, with_journal: bool) -> Result<LogRows> {
        let rows = rows(run, after_version, with_journal);
        match whom {
            For::Writer => self.db.tx(Scope::System, rows).await,
            For::Viewer => {
                let _turn = self.attaches.enter_later().await?;
                self.db.read(Scope::System, rows).await
            }
            For::Probe => self.probe.tx(Scope::System, rows).await,
        }
    }
}

fn rows(
    run: RunId,
    after_version: u64,
    with_journal: bool,
) -> impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<LogRows>> + Send + Sync {
    move |tx| Box::pin(async move { runs::log_rows(tx, run, after_version, with_journal).await })
}

/// Somebody who is not of the org gets the answer that there is no such thing.
async fn check_member(tx: &mut Tx, org: OrgId, user: UserId, what: &'static str) -> Result<()> {
    orgs::role(tx, org, user).await?.ok_or(Refusal::NotFound { what })?;
    Ok(())
}

/// A turn of a conversation, which waits in no queue of its thread.
async fn turn(tx: &mut Tx, row: Option<RunRow>, queues: &Queues) -> Result<Option<Seen>> {
    match row {
        Some(row) => seen(tx, row, 0, queues).await.map(Some),
        None => Ok(None),
    }
}

async fn seen(tx: &mut Tx, row: RunRow, queue_position: u32, queues: &Queues) -> Result<Seen> {
    let state = row.run.state.name();
    let blocked_by = if state == StateName::Ready { runs::blocked_by(tx, row.run.id, queues).await? } else { None };
    let waits = Waits { state, queue_position, blocked_by };
    let key = RunKey::from(&row.run);
    Ok(Seen { key, turn_number: row.run.turn_number, place: row.run.place, waits, position: row.position })
}

/// Reads in a transaction that sees one moment: state, steps and transitions fit together.
async fn journal(tx: &mut Tx, org: OrgId, run: RunId) -> Result<Journal> {
    let row = runs::get(tx, org, run).await?;
    let state = row.run.state.name();
    let steps = steps::load(tx, run).await?;
    let transitions = runs::history(tx, org, run).await?;
    let finished = match transitions.last().map(|transition| &transition.record) {
        Some(Record::Finished(finished)) => Some(Finished::clone(finished)),
        _ if state.is_terminal() => {
            return Err(Fault::internal(format!("{run} is over and its last transition does not say how")).into());
        }
        _ => None,
    };
    Ok(Journal { state, position: row.position, steps, transitions, finished })
}

impl Seen {
    /// Whether the run is over.
    pub const fn is_over(&self) -> bool {
        self.waits.state.is_terminal()
    }

    /// The last turn of a thread, as a look at the thread found it: what keeps it from a worker was not looked up.
    pub const fn of_newest(org: OrgId, thread: ThreadId, turn: NewestTurn) -> Self {
        Self {
            key: RunKey { org, thread, run: turn.run },
            turn_number: turn.turn_number,
            place: Some(turn.place),
            waits: Waits::of_state(turn.state),
            position: turn.position,
        }
    }
}

impl Journal {
    /// The view of everything up to a transition, as of this place in the log.
    pub fn into_view_until(mut self, version: u64, seq: u64, chain: Chain) -> RunView {
        self.transitions.retain(|transition| transition.version <= version);
        self.into_view(seq, chain)
    }

    /// The view that it makes, as of this place in the log.
    pub fn into_view(self, seq: u64, chain: Chain) -> RunView {
        RunView::of_journal(&self.steps, &self.transitions, seq, chain)
    }
}

impl Waits {
    /// A run that waits for no place in a queue.
    pub const fn of_state(state: StateName) -> Self {
        Self { state, queue_position: 0, blocked_by: None }
    }

    /// Where a run stands, as a comparison of many runs finds it.
    pub const fn of(standing: &Standing) -> Self {
        Self { state: standing.state, queue_position: standing.queue_position, blocked_by: standing.blocked_by }
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
