//! Reading the log for one viewer, at the viewer's own pace, from the place where it stands.

use super::{Next, Source, Viewer};
use crate::limits;
use crate::shown::Shown;
use runmesh_bus::Replay;
use runmesh_domain::Result;
use runmesh_domain::cursor::Cursor;
use runmesh_wire::pb::stream::reset::Reason;
use std::sync::Arc;

/// A reading of the log. It begins where the client's cursor says; when something else is there, at the head.
#[derive(Debug)]
pub struct Reading {
    replay: Replay,
    /// True once the client's place was found.
    found: bool,
    /// True when it began at the head.
    from_head: bool,
}

/// Where a batch lies, seen from a place in the log.
enum Place {
    Before,
    Next,
    Lost(Reason),
}

impl Reading {
    fn place(&mut self, at: Cursor, batch: &Shown) -> Place {
        if batch.joins(at.seq, at.chain) {
            self.found = true;
            return Place::Next;
        }
        if batch.tail.seq < at.seq {
            return Place::Before;
        }
        if batch.tail.seq == at.seq && batch.tail.chain == at.chain {
            self.found = true;
            return Place::Before;
        }
        let is_later = batch.first_seq > at.seq + 1;
        Place::Lost(if is_later && !self.found { Reason::LogTruncated } else { Reason::LogForked })
    }
}

impl Viewer {
    /// The log holds nothing more, whatever is at hand: has that looked at, and waits.
    fn wait_for_news(&self) -> Next {
        match &self.source {
            Source::Watched { run, .. } => run.look(),
            Source::Ended(_) => return Next::Snapshot(Some(Reason::LogTruncated)),
        }
        Next::Wait
    }

    /// Reads the log, unless others come back near the same place: then it is read once for all of them. A place without a hint is
    /// far back, and so is that of a reading under way.
    pub(super) async fn read_or_share(&mut self) -> Result<Next> {
        if let Source::Watched { run, .. } = &self.source
            && self.reading.is_none()
            && self.at.stream_seq > 0
            && run.reach(&self.relay, self.at).await?
        {
            return Ok(Next::Seek);
        }
        self.read().await
    }

    /// Reads on, as much as makes a frame.
    pub(super) async fn read(&mut self) -> Result<Next> {
        let is_fresh = self.reading.is_none();
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.begin_reading(self.at.stream_seq),
        };
        let mut read = self.read_some(&mut reading).await;
        if let (Ok(Read { lost: Some(_), .. }), false, false) = (&read, reading.found, reading.from_head) {
            reading = self.begin_reading(0);
            read = self.read_some(&mut reading).await;
        }
        let Read { batches, lost } = read?;
        if batches.is_empty() {
            return Ok(match lost {
                Some(reason) => Next::Snapshot(Some(reason)),
                // An older reading may be of a stream that was lost and made again: the next one begins anew.
                None if !is_fresh => Next::Seek,
                None => self.wait_for_news(),
            });
        }
        let next = self.send(&batches);
        // What was read goes on from here unless more is at hand; a loss is met again then.
        self.reading = Some(reading).filter(|_| lost.is_none());
        Ok(next)
    }

    fn begin_reading(&self, from: u64) -> Reading {
        let up_to = match &self.source {
            Source::Watched { run, .. } => run.tail(),
            Source::Ended(run) => run.tail(),
        };
        let up_to = up_to.map_or(0, |tail| tail.stream_seq);
        let replay = self.relay.bus.log().replay(self.key, from, up_to);
        Reading { replay, found: false, from_head: from == 0 }
    }

    /// What follows the client's place. A log that does not answer ends it only while nothing was read.
    async fn read_some(&self, reading: &mut Reading) -> Result<Read> {
        let (mut batches, mut bytes, mut at) = (Vec::new(), 0, self.at);
        while bytes < limits::FRAME_BYTES && batches.len() < limits::RING_BATCHES {
            let batch = match reading.replay.next().await {
                Ok(Some(batch)) => Shown::of(self.key, &batch),
                Ok(None) => return Ok(Read { batches, lost: (!reading.found).then_some(Reason::LogTruncated) }),
                Err(error) if batches.is_empty() => return Err(error),
                Err(_) => break,
            };
            match reading.place(at, &batch) {
                Place::Before => {}
                Place::Next => {
                    at = at.at_tail(&batch.tail);
                    bytes += batch.bytes;
                    batches.push(Arc::new(batch));
                }
                Place::Lost(reason) => return Ok(Read { batches, lost: Some(reason) }),
            }
        }
        Ok(Read { batches, lost: None })
    }
}

/// What a reading gave.
struct Read {
    batches: Vec<Arc<Shown>>,
    /// Why the log does not go on from the client's place.
    lost: Option<Reason>,
}
