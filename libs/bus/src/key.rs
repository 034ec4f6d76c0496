//! What names a run on the bus.

use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::{Run, RunIds};

/// The ids that a run's subjects are built from. They are parsed ids, so no subject can hold anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunKey {
    /// The org.
    pub org: OrgId,
    /// The thread.
    pub thread: ThreadId,
    /// The run.
    pub run: RunId,
}

impl From<RunIds> for RunKey {
    fn from(ids: RunIds) -> Self {
        Self { org: ids.org, thread: ids.thread, run: ids.id }
    }
}

impl From<&Run> for RunKey {
    fn from(run: &Run) -> Self {
        Self { org: run.org, thread: run.thread, run: run.id }
    }
}

impl From<LeaseClaim> for RunKey {
    fn from(lease: LeaseClaim) -> Self {
        Self { org: lease.org, thread: lease.thread, run: lease.run }
    }
}
