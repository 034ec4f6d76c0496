//! What a follower is told.

use crate::error::ClientError;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;
use runmesh_wire::pb::stream as pb;

/// Why what the follower held is void.
pub use runmesh_wire::pb::stream::reset::Reason as ResetReason;

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With the state folded so far, then the events after it.
    #[default]
    Snapshot,
    /// After everything that this cursor covers.
    Cursor(String),
    /// With the first event of the log.
    Beginning,
    /// With what comes next.
    Live,
}

/// One thing that a follower is told.
#[derive(Debug)]
pub enum Update {
    /// The state folded so far. Takes the place of everything before.
    Snapshot(Box<RunView>),
    /// Events of the log, contiguous, each with its number.
    Events {
        /// At least one.
        events: Vec<(u64, Event)>,
        /// Where to come back to after these.
        cursor: String,
    },
    /// What the run is waiting for.
    Status(pb::Status),
    /// A sign of life.
    Progress,
    /// What was told so far is void; a snapshot follows.
    Reset(ResetReason),
    /// The stream broke; the follower comes back by itself.
    Reconnecting {
        /// What happened.
        error: ClientError,
    },
    /// The last update.
    End {
        /// Why.
        reason: EndReason,
        /// The run's state as the relay last knew it.
        state: Option<StateName>,
    },
}

/// Where to begin with a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ThreadStart {
    /// With the turn under way, or the first that waits, from its snapshot; on an idle thread with the turns to come.
    #[default]
    Snapshot,
    /// After everything that this cursor covers: any cursor of a run of the thread, or of [`crate::ThreadFollow::cursor`].
    Cursor(String),
    /// With what comes next.
    Live,
}

/// One thing that a follower of a thread is told.
#[derive(Debug)]
pub enum ThreadUpdate {
    /// A turn begins. What follows is of its run.
    Turn {
        /// Its run.
        run: RunId,
        /// Its number in the thread.
        turn_number: u64,
    },
    /// Of the turn told last. [`Update::End`] is the end of following, never that of a turn, which is an event.
    Of(Update),
}

/// Why a follower has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The run has ended and everything of it was told; of a thread: it was deleted.
    Finished,
    /// The credentials expired; come back with new ones and the follower's cursor.
    TokenExpired,
}
