//! Hints to those who wait for the next turn of a thread. Hints only: Postgres has the turns and the members, and a reader that
//! misses a hint finds the change at the next look there.

use crate::bus::Bus;
use crate::subjects;
use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt as _;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, ThreadId};

/// Hints of one thread as they come.
#[derive(Debug)]
pub struct ThreadHints {
    subscriber: Subscriber,
}

/// Hints that the members of an org have changed, of all orgs.
#[derive(Debug)]
pub struct MemberHints {
    subscriber: Subscriber,
}

impl Bus {
    /// Says that a thread has another turn, or none any more because it was deleted. Fire and forget, without waiting: dropped
    /// when the connection is away or has too much to send.
    pub fn hint_thread(&self, org: OrgId, thread: ThreadId) {
        self.requests().hint(subjects::thread(org, thread), Bytes::new());
    }

    /// Says that an org has lost members, as [`Bus::hint_thread`] does.
    pub fn hint_members(&self, org: OrgId) {
        self.requests().hint(subjects::members(org), Bytes::new());
    }

    /// Subscribes to the hints of a thread. The server knows of the subscription when this returns: a change that is committed
    /// later is hinted at, and one that was committed before is there to be read.
    ///
    /// # Errors
    /// `Unavailable` when the connection is away.
    pub async fn thread_hints(&self, org: OrgId, thread: ThreadId) -> Result<ThreadHints> {
        let subscriber = self.requests().subscribe(subjects::thread(org, thread)).await?;
        self.requests().round_trip().await?;
        Ok(ThreadHints { subscriber })
    }

    /// Subscribes to the hints of the members of every org: they are rare.
    ///
    /// # Errors
    /// `Unavailable` when the connection takes nothing.
    pub async fn member_hints(&self) -> Result<MemberHints> {
        Ok(MemberHints { subscriber: self.requests().subscribe(subjects::MEMBERS_ALL.to_owned()).await? })
    }
}

impl ThreadHints {
    /// Waits for the next hint; none when the connection was closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<()> {
        self.subscriber.next().await.map(drop)
    }
}

impl MemberHints {
    /// The next org whose members have changed; none when the connection was closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<OrgId> {
        loop {
            let message = self.subscriber.next().await?;
            if let Ok(org) = subjects::last_token(&message.subject).parse() {
                return Some(org);
            }
        }
    }
}
