//! What one viewer of a run is told, checked as it comes: every event once and in order, and an end that says so.

use super::failed;
use super::plan::PATIENCE;
use crate::failure::Failure;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::pb::stream::run_event::Kind;
use runmesh_wire::pb::stream::{AttachRunResponse, End, Events, end};
use std::time::Instant;
use tonic::Streaming;

/// An attachment.
#[derive(Debug)]
pub(super) struct Watch {
    frames: Streaming<AttachRunResponse>,
    seen: Seen,
    next_seq: Option<i64>,
}

/// What it was told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the first event came.
    pub(super) first_event: Option<Instant>,
    /// When the first text came.
    pub(super) first_text: Option<Instant>,
    /// All text.
    pub(super) text: String,
    /// Events.
    pub(super) events: usize,
    completed: bool,
}

impl Watch {
    /// A viewer that was told nothing yet.
    pub(super) fn new(frames: Streaming<AttachRunResponse>) -> Self {
        Self { frames, seen: Seen::default(), next_seq: None }
    }

    /// The next frame; none at the end of the stream.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.frames.message()).await;
            let next = next.map_err(|_| failed("viewer", "nothing came for a minute"))?;
            match next.map_err(|status| failed("viewer", status))? {
                None => return Ok(None),
                Some(AttachRunResponse { frame: None }) => {}
                Some(AttachRunResponse { frame: Some(frame) }) => return Ok(Some(frame)),
            }
        }
    }

    /// Follows to the end of the run; tells `on_text` each text as it comes.
    pub(super) async fn finish(mut self, mut on_text: impl FnMut(&str)) -> Result<Seen, Failure> {
        while let Some(frame) = self.frame().await? {
            match frame {
                Frame::Events(events) => self.take(&events, &mut on_text)?,
                Frame::End(end) => return self.ended(&end),
                Frame::Snapshot(_) | Frame::Status(_) | Frame::Progress(_) => {}
                Frame::Reset(reset) => return Err(failed("viewer", format!("was reset: {reset:?}"))),
            }
        }
        Err(failed("viewer", "the stream ended without an end"))
    }

    fn take(&mut self, events: &Events, on_text: &mut impl FnMut(&str)) -> Result<(), Failure> {
        if self.next_seq.is_some_and(|next| next != events.first_seq) {
            return Err(failed("viewer", format!("got event {} for {:?}", events.first_seq, self.next_seq)));
        }
        self.next_seq = Some(events.first_seq + i64::try_from(events.events.len()).unwrap_or(i64::MAX));
        let now = Instant::now();
        self.seen.first_event.get_or_insert(now);
        self.seen.events += events.events.len();
        for event in &events.events {
            match &event.kind {
                Some(Kind::TextDelta(delta)) => {
                    self.seen.first_text.get_or_insert(now);
                    self.seen.text.push_str(&delta.text);
                    on_text(&delta.text);
                }
                Some(Kind::RunFinished(finished)) => self.seen.completed = finished.state() == State::Completed,
                _ => {}
            }
        }
        Ok(())
    }

    fn ended(self, end: &End) -> Result<Seen, Failure> {
        if end.reason() != end::Reason::Finished || !self.seen.completed {
            return Err(failed("viewer", format!("the run ended as {:?}, the stream as {:?}", end.state(), end.reason())));
        }
        Ok(self.seen)
    }
}

impl Seen {
    /// Fails unless the text is exactly `count` numbered chunks of the mock model, in order.
    pub(super) fn assert_chunks(&self, count: usize) -> Result<(), Failure> {
        let mut words = self.text.split_whitespace().filter(|word| word.starts_with("chunk-"));
        let in_order =
            (0..count).all(|index| words.next().and_then(|word| word.strip_prefix("chunk-")) == Some(&index.to_string()));
        if in_order && words.next().is_none() {
            return Ok(());
        }
        Err(failed("viewer", format!("wanted {count} chunks in order, got {} bytes of something else", self.text.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn chunks_must_all_be_there_in_order() {
        let seen = |text: &str| Seen { text: text.into(), ..Seen::default() };
        assert!(seen("t1 chunk-0 t1 chunk-1 ").assert_chunks(2).is_ok());
        for wrong in ["t1 chunk-0 ", "t1 chunk-1 t1 chunk-0 ", "t1 chunk-0 t1 chunk-1 t1 chunk-1 ", ""] {
            assert!(seen(wrong).assert_chunks(2).is_err(), "{wrong}");
        }
    }
}
