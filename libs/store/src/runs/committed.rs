//! What a transaction changed about runs, for those who act on it after COMMIT.

use super::row::RunRow;
use runmesh_domain::log::Position;
use runmesh_domain::run::{Run, RunIds};
use runmesh_domain::transition::Transition;

/// One transition that a transaction wrote: everything that the run log and the feed need, without reading it back.
/// Worth nothing until the transaction has committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The run.
    pub ids: RunIds,
    /// What changed.
    pub transition: Transition,
    /// Where the run's log stood at the holder's last word.
    pub position: Position,
}

impl Committed {
    pub(crate) fn new(row: &RunRow, transition: Transition) -> Self {
        Self { ids: ids(&row.run), transition, position: row.position }
    }
}

/// Who and what a run is about.
pub(crate) const fn ids(run: &Run) -> RunIds {
    RunIds { id: run.id, org: run.org, thread: run.thread, user: run.user, agent: run.agent, agent_version: run.agent_version }
}
