//! Who makes a transition.

use crate::id::{SessionId, UserId};

/// Who made a transition of a run. Stored beside it, for the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// runmesh itself: a sweeper, or a rule that follows from another transition.
    System,
    /// A person.
    User(UserId),
    /// A worker session, as the holder of the run.
    Worker(SessionId),
}
