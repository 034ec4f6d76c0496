//! What a run's log holds, as it comes. At most once: a reader sees a gap by the chain and refills it from the log.

use crate::fault::internal;
use crate::log::Batch;
use async_nats::{Message, Subscriber, header};
use futures::StreamExt as _;
use runmesh_domain::Result;

/// A subscription to a run's log.
#[derive(Debug)]
pub struct Live {
    subscriber: Subscriber,
}

impl Live {
    pub(crate) const fn new(subscriber: Subscriber) -> Self {
        Self { subscriber }
    }

    /// The next batch; none when the connection was closed for good. Cancel safe.
    ///
    /// # Errors
    /// `Internal` for a message that is no batch.
    pub async fn next(&mut self) -> Option<Result<Batch>> {
        let message = self.subscriber.next().await?;
        Some(batch(&message))
    }
}

/// The batch of a republished or directly got message, with the sequence that the server names.
pub fn batch(message: &Message) -> Result<Batch> {
    let stream_seq =
        number(message, header::NATS_SEQUENCE).ok_or_else(|| internal("a message of the log without its sequence"))?;
    Batch::decode(stream_seq, message.payload.clone())
}

/// A header that holds a number.
pub fn number(message: &Message, name: header::HeaderName) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}
