//! A run as a value: one pure function decides what a command would change, one applies it.
//!
//! *Invariant R1:* the fence never decreases. *Invariant R2:* nothing follows a terminal state.

mod apply;
mod cancel;
mod command;
mod decide;
mod state;
mod table;

pub use cancel::{Cancel, CancelMode};
pub use command::{Ask, Change, Command, Outcome};
pub use decide::ended_from_parts;
pub use state::{Ended, State, StateName};
pub use table::{describe, table};

use crate::id::{AgentId, OrgId, RunId, ThreadId, UserId};

/// What kind of work a run is. Stored by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// It answers a message on a thread, and holds the thread while it is READY, RUNNING or WAITING.
    Turn,
    /// It works beside the turns of its thread and holds nothing.
    Background,
}

impl RunKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Turn, Self::Background];

    /// The stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Background => "background",
        }
    }

    /// The kind of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One piece of work of an agent: a turn of a thread, or a background job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id; never reused.
    pub id: RunId,
    /// The org.
    pub org: OrgId,
    /// The thread.
    pub thread: ThreadId,
    /// Who sent the message.
    pub user: UserId,
    /// The agent.
    pub agent: AgentId,
    /// The agent's version.
    pub agent_version: u64,
    /// What kind of work it is.
    pub kind: RunKind,
    /// The order of acceptance on the thread, from 1; 0 for a background run.
    pub turn_number: u64,
    /// The order in which queued turns of the thread start, the lowest first. Negative for a turn that was put before all others.
    pub rank: i64,
    /// Where the turn stands in the conversation, from 1. Given when the turn starts, or when it ends without having started.
    pub place: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// +1 on every transition; 1 when accepted.
    pub version: u64,
    /// +1 on every claim, and whenever anybody but the holder takes the run out of RUNNING.
    pub fence: u64,
    /// The cancel that was acknowledged.
    pub cancel: Option<Cancel>,
    /// Attempts in a row that lost their lease without a journaled step.
    pub barren_attempts: u32,
    /// Attempts in a row that ended by a cut stream or a release without a journaled step.
    pub cut_attempts: u32,
}

impl Run {
    /// A turn as it is accepted: READY with its place in the conversation when its thread is free, else QUEUED.
    #[must_use]
    pub fn accepted(ids: RunIds, turn_number: u64, rank: i64, place: Option<u64>) -> Self {
        let RunIds { id, org, thread, user, agent, agent_version } = ids;
        let state = if place.is_some() { State::Ready } else { State::Queued };
        Self {
            id,
            org,
            thread,
            user,
            agent,
            agent_version,
            kind: RunKind::Turn,
            turn_number,
            rank,
            place,
            state,
            version: 1,
            fence: 0,
            cancel: None,
            barren_attempts: 0,
            cut_attempts: 0,
        }
    }

    /// True when somebody asked for the run to end and was acknowledged.
    #[must_use]
    pub const fn is_cancel_requested(&self) -> bool {
        self.cancel.is_some()
    }

    /// True while the run is a turn that holds its thread.
    #[must_use]
    pub const fn holds_thread(&self) -> bool {
        matches!(self.kind, RunKind::Turn) && self.state.name().holds_thread()
    }
}

/// Who and what a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunIds {
    /// The run.
    pub id: RunId,
    /// The org.
    pub org: OrgId,
    /// The thread.
    pub thread: ThreadId,
    /// The sender.
    pub user: UserId,
    /// The agent.
    pub agent: AgentId,
    /// The agent's version.
    pub agent_version: u64,
}
