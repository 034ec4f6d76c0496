//! What a transaction changed about runs, for those who act on it after COMMIT.

use super::row::RunRow;
use runmesh_domain::journal::Step;
use runmesh_domain::log::{Journal, Known, Position};
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
    /// The last journaled step of the top level.
    pub last_step: u32,
    /// The step that was journaled with it, when that is the last one.
    pub step: Option<Box<Step>>,
}

impl Committed {
    pub(crate) fn new(row: &RunRow, transition: Transition) -> Self {
        Self { ids: ids(&row.run), transition, position: row.position, last_step: row.last_step, step: None }
    }
}

/// Everything of a run that may be missing in its log, read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRows {
    /// The run.
    pub ids: RunIds,
    /// Where its log stood at the holder's last word.
    pub position: Position,
    /// The last journaled step of the top level.
    pub last_step: u32,
    /// The journal; absent unless it was asked for.
    pub steps: Option<Vec<Step>>,
    /// Transitions above a version, each with whether it is marked as logged.
    pub transitions: Vec<(Transition, bool)>,
}

impl LogRows {
    /// As the rules of the log take it.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        let steps = self.steps.as_deref();
        let journal = Journal { last_step: self.last_step, steps: steps.unwrap_or_default(), is_whole: steps.is_some() };
        Known { position: self.position, journal, transitions: &self.transitions }
    }
}

/// Who and what a run is about.
pub(crate) const fn ids(run: &Run) -> RunIds {
    RunIds { id: run.id, org: run.org, thread: run.thread, user: run.user, agent: run.agent, agent_version: run.agent_version }
}
