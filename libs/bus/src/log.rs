//! The run log: tails from the leader, appends onto the tail that was decided for, following and replaying.

mod batch;
mod catch_up;
mod fit;
mod replay;

pub use batch::Batch;
pub use catch_up::CaughtUp;
pub use fit::fitted;
use replay::Readings;
pub use replay::Replay;

use crate::connection::Connection;
use crate::key::RunKey;
use crate::live::Live;
use crate::publish::{self, PublishOutcome};
use crate::{api, limits, streams, subjects};
use runmesh_domain::Result;
use runmesh_domain::log::Tail;
use tokio::time::sleep;

/// The logs of all runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    requests: Connection,
    readings: Readings,
}

impl Log {
    pub(crate) fn new(requests: Connection, replays: Connection) -> Self {
        Self { requests, readings: Readings::new(replays) }
    }

    /// The last batch of a run's log as the leader has it; none when the log is empty.
    ///
    /// # Errors
    /// `Unavailable` when the leader does not answer; `Internal` when it holds no batch of this version.
    pub async fn last(&self, key: RunKey) -> Result<Option<Batch>> {
        let last = api::last_of(&self.requests, streams::LOG.name, &subjects::log(key)).await?;
        last.map(|(stream_seq, payload)| Batch::decode(stream_seq, payload.into())).transpose()
    }

    /// The tail of a run's log as the leader has it; the default when the log is empty.
    ///
    /// # Errors
    /// As [`Log::last`].
    pub async fn tail(&self, key: RunKey) -> Result<Tail> {
        Ok(self.last(key).await?.map_or_else(Tail::default, |batch| batch.tail))
    }

    /// The tail of a run's log of which somebody has seen event `seq`. A leader that says that it ends before is asked again
    /// a second later: one that was just elected may answer before it has everything.
    ///
    /// # Errors
    /// As [`Log::last`].
    pub async fn tail_reaching(&self, key: RunKey, seq: u64) -> Result<Tail> {
        let tail = self.tail(key).await?;
        if tail.seq >= seq {
            return Ok(tail);
        }
        sleep(limits::CONFIRM).await;
        self.tail(key).await
    }

    /// Appends a batch that was made for the tail at stream sequence `expected` (0: for an empty log).
    ///
    /// # Errors
    /// `Unavailable` when it was certainly not published.
    pub async fn publish(&self, key: RunKey, batch: &Batch, expected: u64) -> Result<PublishOutcome> {
        self.publish_as(key, batch, expected, None).await
    }

    async fn publish_as(&self, key: RunKey, batch: &Batch, expected: u64, message_id: Option<&str>) -> Result<PublishOutcome> {
        publish::onto(&self.requests, subjects::log(key), expected, message_id, batch.encode()).await
    }

    /// Subscribes to what comes, then reads the last batch from the leader over the same connection. That is the round
    /// trip: whatever the log holds beyond that batch comes through the subscription, or shows as a gap in the chain.
    ///
    /// # Errors
    /// As [`Log::last`].
    pub async fn follow(&self, key: RunKey) -> Result<(Live, Option<Batch>)> {
        let live = Live::new(self.requests.subscribe(subjects::live(key)).await?);
        let last = self.last(key).await?;
        Ok((live, last))
    }

    /// Reads the log from stream sequence `from` on (0: from its head), up to `up_to` at least: what the leader is known
    /// to hold. A page at a time, as the caller takes it.
    #[must_use]
    pub fn replay(&self, key: RunKey, from: u64, up_to: u64) -> Replay {
        Replay::new(self.readings.clone(), key, from, up_to)
    }
}
