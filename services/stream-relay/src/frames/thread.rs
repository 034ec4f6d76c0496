//! The frames of an attached thread.

use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed;
use runmesh_wire::pb::relay::AttachThreadResponse;
use runmesh_wire::pb::relay::attach_run_response::Frame as OfRun;
use runmesh_wire::pb::relay::attach_thread_response::Frame;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::stream as pb;

fn frame(frame: Frame) -> AttachThreadResponse {
    AttachThreadResponse { frame: Some(frame) }
}

/// A frame of a turn's run. A sign of life loses its cursor: a thread's has one between turns only.
pub fn of_run(of_run: OfRun) -> AttachThreadResponse {
    frame(match of_run {
        OfRun::Snapshot(snapshot) => Frame::Snapshot(snapshot),
        OfRun::Events(events) => Frame::Events(events),
        OfRun::Status(status) => Frame::Status(status),
        OfRun::Progress(progress) => Frame::Progress(pb::Progress { cursor: String::new(), ..progress }),
        OfRun::Reset(reset) => Frame::Reset(reset),
        OfRun::End(end) => Frame::End(end),
    })
}

/// A turn begins; `at` is where.
pub fn turn(run: RunId, number: u64, place: Option<u64>, at: Cursor) -> AttachThreadResponse {
    let place = signed(place.unwrap_or_default());
    frame(Frame::Turn(pb::Turn { run_id: run.to_string(), turn_number: signed(number), cursor: at.to_string(), place }))
}

/// A sign of life between turns, with where to come back to.
pub fn progress(at: Cursor) -> AttachThreadResponse {
    frame(Frame::Progress(pb::Progress { seq: signed(at.seq), cursor: at.to_string() }))
}

/// The last frame, between turns.
pub fn end(reason: pb::end::Reason, at: Cursor, state: Option<StateName>) -> AttachThreadResponse {
    let state = state.map_or(State::Unspecified, |state| state.into_wire());
    frame(Frame::End(pb::End { reason: reason.into(), cursor: at.to_string(), state: state.into() }))
}
