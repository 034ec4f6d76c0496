//! Filling a watched run's ring with what came before it: read once, for everybody who comes back there.

use super::watched::Watched;
use crate::limits;
use crate::relay::Relay;
use crate::shown::Shown;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::{Fault, Result};
use std::sync::Arc;
use tokio::time::timeout;

/// Fills one run's ring, one reading at a time.
#[derive(Debug, Default)]
pub struct Filling {
    /// Events up to this one are further back than the ring reaches.
    too_far: tokio::sync::Mutex<u64>,
}

impl Filling {
    /// Has the ring begin at a cursor's place, when that is near enough. Whether it does; if not, the viewer reads the log alone.
    pub async fn reach(&self, relay: &Relay, run: &Watched, at: Cursor) -> Result<bool> {
        let turn = timeout(limits::LOG_WAIT, self.too_far.lock()).await;
        let away = || Fault::Unavailable { part: "nats", detail: "filling the ring of a run takes too long".into() };
        let mut too_far = turn.map_err(|_| away())?;
        let Some((begins, up_to)) = run.ring_begins() else { return Ok(false) };
        if at.seq >= begins {
            return Ok(true);
        }
        if at.seq < *too_far {
            return Ok(false);
        }
        let reached = read(relay, run, at, begins, up_to).await?.is_some_and(|batches| run.put_before(batches));
        if !reached {
            *too_far = at.seq + 1;
        }
        Ok(reached)
    }
}

/// What the log holds from a cursor's place up to event `until`. None when that is more than the ring may hold, and when the log
/// holds something else at that place.
async fn read(relay: &Relay, run: &Watched, at: Cursor, until: u64, up_to: u64) -> Result<Option<Vec<Arc<Shown>>>> {
    let mut replay = relay.bus.log().replay(run.key(), at.stream_seq, up_to);
    let (mut batches, mut bytes, mut seq, mut chain) = (Vec::new(), 0, at.seq, at.chain);
    while seq < until {
        let Some(batch) = replay.next().await? else { return Ok(None) };
        let batch = Shown::of(run.key(), &batch);
        if batch.tail.seq <= seq {
            continue;
        }
        bytes += batch.bytes;
        if !batch.joins(seq, chain) || bytes > limits::RING_BYTES || batches.len() >= limits::RING_BATCHES {
            return Ok(None);
        }
        (seq, chain) = (batch.tail.seq, batch.tail.chain);
        batches.push(Arc::new(batch));
    }
    Ok(Some(batches))
}
