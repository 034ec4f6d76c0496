//! Hints to whoever drives a run. The durable flag and the heartbeat's answer say the same; this is only faster.

use crate::bus::Bus;
use crate::subjects;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use runmesh_domain::Result;
use runmesh_domain::id::{RunId, SessionId};

/// Somebody canceled a run while a session drove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelHint {
    /// The run.
    pub run: RunId,
    /// The attempt that drove it.
    pub fence: u64,
    /// The session that drove it.
    pub session: SessionId,
}

/// Cancel hints as they come.
#[derive(Debug)]
pub struct CancelHints {
    subscriber: Subscriber,
}

impl Bus {
    /// Tells whoever serves `session` that attempt `fence` of `run` was canceled. Fire and forget, without waiting.
    pub fn hint_cancel(&self, run: RunId, fence: u64, session: SessionId) {
        self.requests().hint(subjects::cancel(session), Bytes::from(format!("{run} {fence}")));
    }

    /// Hears all cancel hints from about now on.
    ///
    /// # Errors
    /// `Unavailable` when the connection takes nothing.
    pub async fn cancel_hints(&self) -> Result<CancelHints> {
        Ok(CancelHints { subscriber: self.requests().subscribe(subjects::CANCEL_ALL.to_owned()).await? })
    }
}

impl CancelHints {
    /// The next hint; none when the connection was closed for good. Cancel safe.
    pub async fn next(&mut self) -> Option<CancelHint> {
        loop {
            let message = self.subscriber.next().await?;
            if let Some(hint) = read(&message) {
                return Some(hint);
            }
        }
    }
}

fn read(message: &Message) -> Option<CancelHint> {
    let (run, fence) = std::str::from_utf8(&message.payload).ok()?.split_once(' ')?;
    let session = subjects::last_token(&message.subject).parse().ok()?;
    Some(CancelHint { run: run.parse().ok()?, fence: fence.parse().ok()?, session })
}
