//! Following a run: one stream of updates over as many attachments as it takes.
//!
//! *Invariant S1:* a follower that yields no error and no [`Update::Reset`] yields every event of the log from where it
//! started, exactly once and in order. What does not fit is never passed over in silence.

mod attach;
mod machine;
mod patience;
mod tracker;
mod update;

pub use machine::Follow;
pub use update::{EndReason, ResetReason, Start, Update};

use crate::client::Client;
use runmesh_domain::id::RunId;

impl Client {
    /// Follows `run` from `start`. Connects at the first poll; see [`Follow`].
    #[must_use]
    pub fn follow(&self, run: RunId, start: Start) -> Follow {
        Follow::new(self.clone(), run, start)
    }
}
