//! Wake-ups: "there is work for this org". Hints only; whoever misses one finds the work by polling.

use crate::bus::Bus;
use crate::subjects;
use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt as _;
use runmesh_domain::Result;
use runmesh_domain::id::OrgId;

/// Wake-ups as they come.
#[derive(Debug)]
pub struct Wakes {
    subscriber: Subscriber,
}

impl Bus {
    /// Tells everybody that `org` has work. Fire and forget, without waiting: dropped when the connection is away or has
    /// too much to send, because a lost hint costs one poll.
    pub fn wake(&self, org: OrgId) {
        self.requests().hint(subjects::wake(org), Bytes::new());
    }

    /// Hears all wake-ups from about now on.
    ///
    /// # Errors
    /// `Unavailable` when the connection takes nothing.
    pub async fn wakes(&self) -> Result<Wakes> {
        Ok(Wakes { subscriber: self.requests().subscribe(subjects::WAKE_ALL.to_owned()).await? })
    }
}

impl Wakes {
    /// The next org with work; none when the connection was closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<OrgId> {
        loop {
            let message = self.subscriber.next().await?;
            if let Ok(org) = subjects::last_token(&message.subject).parse() {
                return Some(org);
            }
        }
    }
}
