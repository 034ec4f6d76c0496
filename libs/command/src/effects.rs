//! What a command's commit sets off, as values: the command says it, the publisher does it.

use runmesh_bus::CancelHint;
use runmesh_domain::id::{OrgId, ThreadId};
use runmesh_domain::run::Run;
use runmesh_store::runs::{Committed, RunRow};

/// What others learn once a transaction has committed. Before that it must reach nobody: a holder obeys a hint at once, and the
/// transaction may still be rolled back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AfterCommit {
    /// Transitions for the run log and the feed, those of one run in order of version.
    pub transitions: Vec<Committed>,
    /// Hints for the sessions that hold runs which are to be canceled.
    pub cancel_hints: Vec<CancelHint>,
    /// A thread that was deleted. Threads that have another turn are known by the transitions.
    pub deleted_thread: Option<(OrgId, ThreadId)>,
    /// An org that lost members.
    pub lost_members: Option<OrgId>,
}

impl AfterCommit {
    /// These transitions and no hints.
    #[must_use]
    pub const fn of(transitions: Vec<Committed>) -> Self {
        Self { transitions, cancel_hints: Vec::new(), deleted_thread: None, lost_members: None }
    }

    /// Of an org that lost members.
    #[must_use]
    pub const fn lost_members(org: OrgId) -> Self {
        Self { transitions: Vec::new(), cancel_hints: Vec::new(), deleted_thread: None, lost_members: Some(org) }
    }

    /// Of a thread that was deleted, too.
    #[must_use]
    pub fn deleted(self, org: OrgId, thread: ThreadId) -> Self {
        Self { deleted_thread: Some((org, thread)), ..self }
    }

    /// Adds hints for the holders of those of `runs` that have one and are to be canceled.
    #[must_use]
    pub fn with_hints<'a>(mut self, runs: impl IntoIterator<Item = &'a RunRow>) -> Self {
        let canceled = runs.into_iter().map(|row| &row.run).filter(|run| run.is_cancel_requested());
        let hint = |run: &Run| Some(CancelHint { run: run.id, fence: run.fence, session: run.state.session()? });
        self.cancel_hints.extend(canceled.filter_map(hint));
        self
    }
}

/// What a command that changes something gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Done<A, X = ()> {
    /// For the caller.
    pub answer: A,
    /// For everybody else, after the commit.
    pub after: AfterCommit,
    /// What the service itself does after the commit; its default is nothing. A repeat of the call gets the default.
    pub extra: X,
}

impl<A, X: Default> Done<A, X> {
    /// An answer, and nothing that others need to know.
    pub fn quiet(answer: A) -> Self {
        Self::with(answer, AfterCommit::default())
    }

    /// An answer, and what others are to know.
    pub fn with(answer: A, after: AfterCommit) -> Self {
        Self { answer, after, extra: X::default() }
    }
}
