//! The frames of an attached stream. Nothing here waits or decides what comes next.

mod snapshot;
pub mod thread;

pub use snapshot::snapshot;

use crate::limits;
use crate::shown::{Shown, joined};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::run::StateName;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed;
use runmesh_wire::pb::relay::AttachRunResponse;
use runmesh_wire::pb::relay::attach_run_response::Frame;
use runmesh_wire::pb::stream as pb;
use std::borrow::Borrow;

fn frame(frame: Frame) -> AttachRunResponse {
    AttachRunResponse { frame: Some(frame) }
}

/// Batches that follow on each other as frames, and the cursor after them. Small batches share a frame.
pub fn events(mut at: Cursor, batches: &[impl Borrow<Shown>]) -> (Vec<AttachRunResponse>, Cursor) {
    let (mut frames, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    for batch in batches.iter().map(Borrow::borrow).filter(|batch| !batch.is_empty()) {
        if !open.is_empty() && bytes + batch.bytes > limits::FRAME_BYTES {
            frames.push(frame(Frame::Events(joined(&open, at))));
            (open, bytes) = (Vec::new(), 0);
        }
        open.push(batch);
        bytes += batch.bytes;
        at = at.at_tail(&batch.tail);
    }
    if !open.is_empty() {
        frames.push(frame(Frame::Events(joined(&open, at))));
    }
    (frames, at)
}

/// A sign of life, with where to come back to.
pub fn progress(at: Cursor) -> AttachRunResponse {
    frame(Frame::Progress(pb::Progress { seq: signed(at.seq), cursor: at.to_string() }))
}

/// A sign of life of a stream that may not know yet where it is.
pub fn alive(at: Cursor) -> AttachRunResponse {
    frame(Frame::Progress(pb::Progress { seq: signed(at.seq), ..pb::Progress::default() }))
}

/// What the run waits for.
pub fn status(status: pb::Status) -> AttachRunResponse {
    frame(Frame::Status(status))
}

/// What the client holds is void.
pub fn reset(reason: pb::reset::Reason) -> AttachRunResponse {
    frame(Frame::Reset(pb::Reset { reason: reason.into() }))
}

/// The last frame; without a cursor when nobody knows yet where the stream is.
pub fn end(reason: pb::end::Reason, at: Option<Cursor>, state: StateName) -> AttachRunResponse {
    let (cursor, state) = (at.map(|at| at.to_string()).unwrap_or_default(), state.into_wire());
    frame(Frame::End(pb::End { reason: reason.into(), cursor, state: state.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use runmesh_bus::{Batch, RunKey};
    use runmesh_domain::chain::Chain;
    use runmesh_domain::id::{OrgId, RunId, ThreadId};
    use runmesh_domain::log::Tail;
    use runmesh_domain::run::StateName::Running;
    use runmesh_wire::pb::stream::run_event::Kind;
    use runmesh_wire::pb::stream::{RunEvent, TextDelta};

    fn key() -> RunKey {
        let id = Default::default();
        RunKey { org: OrgId::from_uuid(id), thread: ThreadId::from_uuid(id), run: RunId::from_uuid(id) }
    }

    fn start() -> Cursor {
        Cursor::start(key().thread, key().run)
    }

    fn text(bytes: usize) -> Vec<u8> {
        let kind = Kind::TextDelta(TextDelta { step_index: 1, text: "x".repeat(bytes), path: String::new() });
        RunEvent { kind: Some(kind) }.encode_to_vec()
    }

    /// After the tail of the one before.
    fn batch(before: Tail, events: Vec<Vec<u8>>) -> (Shown, Tail) {
        let batch = Batch::after(key().run, before, events.into_iter().map(Into::into).collect());
        (Shown::of(key(), &batch), batch.tail)
    }

    /// What a client makes of a frame.
    fn read(frame: &AttachRunResponse) -> pb::Events {
        let read = pb::AttachRunResponse::decode(frame.encode_to_vec().as_slice()).unwrap_or_default();
        match read.frame {
            Some(pb::attach_run_response::Frame::Events(events)) => events,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn small_batches_share_a_frame_and_empty_ones_have_none() {
        let (one, tail) = batch(Tail::default(), vec![text(1), text(2)]);
        let (two, tail) = batch(tail, vec![]);
        let (three, tail) = batch(tail, vec![text(3)]);
        let (frames, at) = events(start(), &[&one, &two, &three]);
        assert_eq!((frames.len(), at.seq, at.chain), (1, 3, tail.chain));
        let frame = read(&frames[0]);
        assert_eq!((frame.first_seq, frame.chain_before, frame.chain_after), (1, Chain::START.0, tail.chain.0));
        let texts = frame.events.iter().map(|event| event.encode_to_vec());
        assert!(texts.eq([text(1), text(2), text(3)]));
        assert_eq!(frame.cursor.parse(), Ok(at));
    }

    #[test]
    fn large_batches_have_frames_of_their_own_that_join() {
        let (one, tail) = batch(Tail::default(), vec![text(100 << 10)]);
        let (two, _) = batch(tail, vec![text(100 << 10)]);
        let (frames, at) = events(start(), &[one, two]);
        assert_eq!((frames.len(), at.seq), (2, 2));
        let second = read(&frames[1]);
        assert_eq!((second.first_seq, second.chain_before), (2, tail.chain.0));
        assert_eq!(second.cursor.parse(), Ok(at));
        assert!(matches!(end(pb::end::Reason::Draining, Some(at), Running).frame, Some(Frame::End(_))));
    }

    #[test]
    fn kinds_and_fields_of_a_newer_version_are_passed_on_as_they_are() {
        // Field 900 of an event, and field 99 within a text delta: neither is known.
        let kind = vec![0xa2, 0x38, 0x02, b'h', b'i'];
        let mut field = text(1);
        field.extend([0x9a, 0x06, 0x01, b'!']);
        let (shown, _) = batch(Tail::default(), vec![kind.clone(), field.clone()]);
        let (frames, _) = events(start(), &[shown]);
        let Some(Frame::Events(bytes)) = &frames[0].frame else { panic!("{frames:?}") };
        let passed_on = runmesh_wire::pb::relay::Events::decode(bytes.clone()).unwrap_or_default().events;
        assert_eq!(passed_on, [kind, field]);
    }
}
