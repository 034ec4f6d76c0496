//! Signs that something happens on a thread. Hints only: whoever misses one finds out by looking.

use crate::bus::Bus;
use crate::subjects;
use async_nats::Subscriber;
use futures::StreamExt as _;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, ThreadId};

/// What is written to the logs of a thread's runs, as signs of life without content.
#[derive(Debug)]
pub struct Activity {
    subscriber: Subscriber,
}

impl Bus {
    /// Hears of every write to the log of any run of a thread, from about now on.
    ///
    /// # Errors
    /// `Unavailable` when the connection takes nothing.
    pub async fn thread_activity(&self, org: OrgId, thread: ThreadId) -> Result<Activity> {
        Ok(Activity { subscriber: self.requests().subscribe(subjects::live_of_thread(org, thread)).await? })
    }
}

impl Activity {
    /// Waits for the next sign; none when the connection was closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<()> {
        self.subscriber.next().await.map(drop)
    }
}
