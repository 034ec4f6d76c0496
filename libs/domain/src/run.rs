//! A run as a value: one pure function decides what a command would change, one applies it.
//!
//! *Invariant R1:* the fence never decreases. *Invariant R2:* nothing follows a terminal state.

mod apply;
mod command;
mod decide;
mod state;
mod table;

pub use command::{Ask, Change, Command, Outcome};
pub use decide::ended_from_parts;
pub use state::{Ended, State, StateName};
pub use table::{describe, table};

use crate::id::{AgentId, OrgId, RunId, ThreadId, UserId};

/// One turn of work on a thread.
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
    /// Place in acceptance on the thread, from 1.
    pub turn_number: u64,
    /// Where it stands.
    pub state: State,
    /// +1 on every transition; 1 when accepted.
    pub version: u64,
    /// +1 on every claim, and whenever anybody but the holder takes the run out of RUNNING.
    pub fence: u64,
    /// True from an acknowledged cancel on.
    pub cancel_requested: bool,
    /// Lost attempts in a row without a journaled step.
    pub barren_attempts: u32,
}

impl Run {
    /// A run as it is accepted: READY when its thread is free, else QUEUED.
    #[must_use]
    pub fn accepted(ids: RunIds, turn_number: u64, thread_is_free: bool) -> Self {
        let RunIds { id, org, thread, user, agent, agent_version } = ids;
        let state = if thread_is_free { State::Ready } else { State::Queued };
        Self {
            id,
            org,
            thread,
            user,
            agent,
            agent_version,
            turn_number,
            state,
            version: 1,
            fence: 0,
            cancel_requested: false,
            barren_attempts: 0,
        }
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
