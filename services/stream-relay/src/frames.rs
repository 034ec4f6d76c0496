//! The frames of an attached stream. Nothing here waits or decides what comes next.

mod snapshot;
pub mod thread;

pub use snapshot::snapshot;

use crate::limits;
use crate::shown::Shown;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::run::StateName;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use std::borrow::Borrow;

fn frame(frame: Frame) -> pb::AttachRunResponse {
    pb::AttachRunResponse { frame: Some(frame) }
}

/// Batches that follow on each other as frames, and the cursor after them. Small batches share a frame.
pub fn events(mut at: Cursor, batches: &[impl Borrow<Shown>]) -> (Vec<pb::AttachRunResponse>, Cursor) {
    let mut frames = Vec::new();
    let mut open: Option<(pb::Events, usize)> = None;
    for batch in batches.iter().map(Borrow::borrow).filter(|batch| !batch.events.is_empty()) {
        if open.as_ref().is_some_and(|(_, bytes)| bytes + batch.bytes > limits::FRAME_BYTES) {
            close(&mut frames, open.take(), at);
        }
        let (events, bytes) = open.get_or_insert_with(|| {
            let (first_seq, chain_before) = (signed(batch.first_seq), batch.chain_before.0);
            (pb::Events { first_seq, chain_before, ..pb::Events::default() }, 0)
        });
        events.events.extend(batch.events.iter().cloned());
        *bytes += batch.bytes;
        at = at.at_tail(&batch.tail);
    }
    close(&mut frames, open, at);
    (frames, at)
}

fn close(frames: &mut Vec<pb::AttachRunResponse>, open: Option<(pb::Events, usize)>, at: Cursor) {
    if let Some((mut events, _)) = open {
        (events.chain_after, events.cursor) = (at.chain.0, at.to_string());
        frames.push(frame(Frame::Events(events)));
    }
}

/// A sign of life, with where to come back to.
pub fn progress(at: Cursor) -> pb::AttachRunResponse {
    frame(Frame::Progress(pb::Progress { seq: signed(at.seq), cursor: at.to_string() }))
}

/// A sign of life of a stream that may not know yet where it is.
pub fn alive(at: Cursor) -> pb::AttachRunResponse {
    frame(Frame::Progress(pb::Progress { seq: signed(at.seq), ..pb::Progress::default() }))
}

/// What the run waits for.
pub fn status(status: pb::Status) -> pb::AttachRunResponse {
    frame(Frame::Status(status))
}

/// What the client holds is void.
pub fn reset(reason: pb::reset::Reason) -> pb::AttachRunResponse {
    frame(Frame::Reset(pb::Reset { reason: reason.into() }))
}

/// The last frame; without a cursor when nobody knows yet where the stream is.
pub fn end(reason: pb::end::Reason, at: Option<Cursor>, state: StateName) -> pb::AttachRunResponse {
    let (cursor, state) = (at.map(|at| at.to_string()).unwrap_or_default(), state.into_wire());
    frame(Frame::End(pb::End { reason: reason.into(), cursor, state: state.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::chain::Chain;
    use runmesh_domain::id::{RunId, ThreadId};
    use runmesh_domain::log::Tail;
    use runmesh_domain::run::StateName::Running;
    use std::sync::Arc;

    fn batch(seq: u64, events: usize, bytes: usize) -> Arc<Shown> {
        let tail = Tail { seq: seq + events as u64, chain: Chain(seq + events as u64), ..Tail::default() };
        let events = vec![runmesh_wire::pb::stream::RunEvent::default(); events];
        Arc::new(Shown { tail, first_seq: seq + 1, chain_before: Chain(seq), events, bytes })
    }

    fn start() -> Cursor {
        let id = Default::default();
        Cursor::start(ThreadId::from_uuid(id), RunId::from_uuid(id))
    }

    #[test]
    fn small_batches_share_a_frame_and_empty_ones_have_none() {
        let (frames, at) = events(start(), &[batch(0, 2, 10), batch(2, 0, 0), batch(2, 1, 10)]);
        assert_eq!((frames.len(), at.seq, at.chain), (1, 3, Chain(3)));
        let Some(Frame::Events(frame)) = &frames[0].frame else { panic!("{frames:?}") };
        assert_eq!((frame.first_seq, frame.chain_before, frame.chain_after, frame.events.len()), (1, 0, 3, 3));
        assert_eq!(frame.cursor.parse(), Ok(at));
    }

    #[test]
    fn large_batches_have_frames_of_their_own_that_join() {
        let (frames, at) = events(start(), &[batch(0, 1, 100 << 10), batch(1, 1, 100 << 10)]);
        assert_eq!((frames.len(), at.seq), (2, 2));
        let Some(Frame::Events(second)) = &frames[1].frame else { panic!("{frames:?}") };
        assert_eq!((second.first_seq, second.chain_before), (2, 1));
        assert!(matches!(end(pb::end::Reason::Draining, Some(at), Running).frame, Some(Frame::End(_))));
    }
}
