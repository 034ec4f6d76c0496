//! A row of `runs` as a value. Reads columns, asks nothing of the database.

use crate::columns::{At, bad_row, count, small};
use runmesh_domain::actor::Actor;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::{ActionId, AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::journal::Usage;
use runmesh_domain::log::Position;
use runmesh_domain::run::{Cancel, CancelMode, Run, RunKind, State, StateName, ended_from_parts};
use runmesh_domain::{Fault, Timestamp};
use uuid::Uuid;

/// A run with what is stored beside its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: Run,
    /// When its message was accepted.
    pub created_at: Timestamp,
    /// When its last attempt began.
    pub claimed_at: Option<Timestamp>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Tokens so far.
    pub usage: Usage,
    /// Where its log stood at the holder's last word.
    pub position: Position,
    /// The last journaled step; 0 before the first.
    pub last_step: u32,
    /// When its cancel was acknowledged.
    pub cancel_at: Option<Timestamp>,
    /// No worker gets it before this time, when it is READY.
    pub not_before: Option<Timestamp>,
    /// When its current attempt began or last journaled something.
    pub progress_at: Option<Timestamp>,
    /// What its journal holds.
    pub journal: JournalSize,
    /// Why no worker gets it until an operator ends it; empty for nearly every run.
    pub set_aside: String,
    /// What keeps it from a worker, where that was looked up (see [`super::see_blocked`]); else absent.
    pub blocked_by: Option<BlockedBy>,
    /// What the holder's last Finish or Release said.
    pub(crate) holder_digest: Option<Vec<u8>>,
}

/// What the journal of a run holds. Both are bounded by the limits of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalSize {
    /// Bytes of model steps, arguments and results.
    pub bytes: u64,
    /// Tool calls.
    pub calls: u32,
}

/// What keeps a READY run from a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedBy {
    /// Its user has as many runs going as allowed.
    UserLimit,
    /// Its org has as many runs going as allowed.
    OrgLimit,
    /// No live worker serves its org, agent and tools.
    NoCapableWorker,
    /// It was set aside.
    SetAside,
}

/// The columns of [`Row`], of a table called `r`.
macro_rules! run_columns {
    () => {
        "r.id, r.org_id, r.thread_id, r.user_id, r.agent_id, r.agent_version, r.kind, r.turn_number, r.rank, r.place, r.state, \
         r.version, r.fence, r.session_id, r.action_id, r.cancel, r.cancel_by, r.cancel_at, r.barren_attempts, r.cut_attempts, \
         r.not_before, r.progress_at, r.journal_bytes, r.journal_calls, r.set_aside, r.reason, r.detail, r.created_at, r.claimed_at, \
         r.started_at, r.ended_at, r.changed_at, r.log_seq, r.log_chain, r.last_step, r.input_tokens, r.output_tokens, \
         r.holder_digest"
    };
}
pub(crate) use run_columns;

/// What [`run_columns`] reads.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    org_id: Uuid,
    thread_id: Uuid,
    user_id: Uuid,
    agent_id: Uuid,
    agent_version: i64,
    kind: String,
    turn_number: i64,
    rank: i64,
    place: Option<i64>,
    state: String,
    version: i64,
    fence: i64,
    session_id: Option<Uuid>,
    action_id: Option<Uuid>,
    cancel: Option<String>,
    cancel_by: Option<Uuid>,
    cancel_at: Option<At>,
    barren_attempts: i32,
    cut_attempts: i32,
    not_before: Option<At>,
    progress_at: Option<At>,
    journal_bytes: i64,
    journal_calls: i32,
    set_aside: String,
    reason: String,
    detail: String,
    created_at: At,
    claimed_at: Option<At>,
    started_at: Option<At>,
    ended_at: Option<At>,
    changed_at: At,
    log_seq: i64,
    log_chain: i64,
    last_step: i32,
    input_tokens: i64,
    output_tokens: i64,
    holder_digest: Option<Vec<u8>>,
}

impl Row {
    pub(crate) const fn id(&self) -> RunId {
        RunId::from_uuid(self.id)
    }

    /// The org of the run.
    pub(crate) const fn org(&self) -> OrgId {
        OrgId::from_uuid(self.org_id)
    }

    /// The number of its turn; 0 for a background run.
    pub(crate) const fn turn_number(&self) -> i64 {
        self.turn_number
    }

    /// What orders it among the org's runs.
    pub(crate) const fn created(&self) -> (i64, Uuid) {
        (self.created_at.0.as_micros(), self.id)
    }

    /// Bytes of what it says of its end, the only thing about it that may be long.
    pub(crate) const fn words(&self) -> usize {
        self.reason.len() + self.detail.len()
    }

    pub(crate) fn read(self) -> Result<RunRow, Fault> {
        let id = RunId::from_uuid(self.id);
        let state = self.state()?;
        let kind = RunKind::from_name(&self.kind).ok_or_else(|| bad_row("runs", "kind", id, &self.kind))?;
        let cancel = self.cancel();
        let run = Run {
            id,
            org: OrgId::from_uuid(self.org_id),
            thread: ThreadId::from_uuid(self.thread_id),
            user: UserId::from_uuid(self.user_id),
            agent: AgentId::from_uuid(self.agent_id),
            agent_version: count(self.agent_version),
            kind,
            turn_number: count(self.turn_number),
            rank: self.rank,
            place: self.place.map(count),
            state,
            version: count(self.version),
            fence: count(self.fence),
            cancel,
            barren_attempts: small(self.barren_attempts),
            cut_attempts: small(self.cut_attempts),
        };
        Ok(RunRow {
            run,
            created_at: self.created_at.0,
            claimed_at: self.claimed_at.map(|at| at.0),
            started_at: self.started_at.map(|at| at.0),
            ended_at: self.ended_at.map(|at| at.0),
            changed_at: self.changed_at.0,
            usage: Usage { input_tokens: count(self.input_tokens), output_tokens: count(self.output_tokens) },
            position: Position { seq: count(self.log_seq), chain: Chain(self.log_chain.cast_unsigned()) },
            last_step: small(self.last_step),
            cancel_at: self.cancel_at.map(|at| at.0),
            not_before: self.not_before.map(|at| at.0),
            progress_at: self.progress_at.map(|at| at.0),
            journal: JournalSize { bytes: count(self.journal_bytes), calls: small(self.journal_calls) },
            set_aside: self.set_aside,
            blocked_by: None,
            holder_digest: self.holder_digest,
        })
    }

    /// A mode that this version does not know is a cancel all the same, for now.
    fn cancel(&self) -> Option<Cancel> {
        let mode = CancelMode::from_name(self.cancel.as_ref()?).unwrap_or(CancelMode::Now);
        let by = self.cancel_by.map_or(Actor::System, |user| Actor::User(UserId::from_uuid(user)));
        Some(Cancel { mode, by })
    }

    fn state(&self) -> Result<State, Fault> {
        let bad = |column| bad_row("runs", column, RunId::from_uuid(self.id), &self.state);
        let name = StateName::from_name(&self.state).ok_or_else(|| bad("state"))?;
        Ok(match name {
            StateName::Queued => State::Queued,
            StateName::Ready => State::Ready,
            StateName::Running => {
                State::Running { session: SessionId::from_uuid(self.session_id.ok_or_else(|| bad("session_id"))?) }
            }
            StateName::Waiting => State::Waiting { action: ActionId::from_uuid(self.action_id.ok_or_else(|| bad("action_id"))?) },
            StateName::Completed | StateName::Failed | StateName::Canceled | StateName::Aborted | StateName::Superseded => {
                State::Ended(ended_from_parts(name, &self.reason, &self.detail)?)
            }
        })
    }
}
