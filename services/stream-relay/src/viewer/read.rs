//! Reading the log for one viewer, at the viewer's own pace, from the place where it stands.

use super::{Next, Source, Viewer};
use crate::limits;
use crate::shown::Shown;
use runmesh_bus::Replay;
use runmesh_domain::Result;
use runmesh_domain::cursor::Cursor;
use runmesh_wire::pb::stream::reset::Reason;
use std::sync::Arc;

/// A reading of the log. It begins at the head: a cursor does not say where in the stream its event is.
#[derive(Debug)]
pub struct Reading {
    replay: Replay,
    /// True once the client's place was found.
    found: bool,
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

    /// Reads on, as much as makes a frame.
    pub(super) async fn read(&mut self) -> Result<Next> {
        let up_to = match &self.source {
            Source::Watched { run, .. } => run.tail(),
            Source::Ended(run) => run.tail(),
        };
        let up_to = up_to.map_or(0, |tail| tail.stream_seq);
        let log = self.relay.bus.log();
        let is_fresh = self.reading.is_none();
        let mut reading = self.reading.take().unwrap_or_else(|| Reading { replay: log.replay(self.key, 0, up_to), found: false });
        let (mut batches, mut bytes, mut at) = (Vec::new(), 0, self.at);
        let mut lost = None;
        while bytes < limits::FRAME_BYTES {
            let Some(batch) = reading.replay.next().await? else {
                lost = (!reading.found).then_some(Reason::LogTruncated);
                break;
            };
            let batch = Shown::of(&batch);
            match reading.place(at, &batch) {
                Place::Before => {}
                Place::Next => {
                    at = at.at(batch.tail.seq, batch.tail.chain);
                    bytes += batch.bytes;
                    batches.push(Arc::new(batch));
                }
                Place::Lost(reason) => {
                    lost = Some(reason);
                    break;
                }
            }
        }
        if batches.is_empty() {
            return Ok(match lost {
                Some(reason) => Next::Snapshot(Some(reason)),
                // An older reading may be of a stream that was lost and made again: the next one begins at the head.
                None if !is_fresh => Next::Seek,
                None => self.wait_for_news(),
            });
        }
        let next = self.send(&batches);
        // What was read goes on from here unless more is at hand; a loss is met again then.
        self.reading = Some(reading).filter(|_| lost.is_none());
        Ok(next)
    }
}
