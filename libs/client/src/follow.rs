//! Following a run, or the runs of a thread: one stream of updates over as many attachments as it takes.
//!
//! *Invariant S1:* a follower that yields no error and no [`Update::Reset`] yields every event of the log from where it
//! started, exactly once and in order. What does not fit is never passed over in silence.

mod attach;
mod line;
mod machine;
mod patience;
mod thread;
mod tracker;
mod update;

pub use machine::Follow;
pub use thread::ThreadFollow;
pub use update::{EndReason, ResetReason, Start, ThreadStart, ThreadUpdate, Update};

use crate::client::Client;
use runmesh_domain::id::{RunId, ThreadId};

impl Client {
    /// Follows `run` from `start`. Connects at the first poll; see [`Follow`].
    #[must_use]
    pub fn follow(&self, run: RunId, start: Start) -> Follow {
        Follow::new(self.clone(), run, start)
    }

    /// Follows the turns of `thread` from `start` on, one after the other. Connects at the first poll; see [`ThreadFollow`].
    #[must_use]
    pub fn follow_thread(&self, thread: ThreadId, start: ThreadStart) -> ThreadFollow {
        ThreadFollow::new(self.clone(), thread, start)
    }
}
