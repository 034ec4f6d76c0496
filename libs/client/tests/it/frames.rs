//! Frames and events of made-up runs.

use runmesh_client::pb::stream::attach_run_response::Frame;
use runmesh_client::pb::stream::{self as pb, AttachRunResponse};
use runmesh_domain::chain::Chain;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::journal::Usage;
use runmesh_domain::message::{Message, Part, Role};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Finished;
use runmesh_domain::{Timestamp, fold::RunView};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::snapshot;

pub fn run() -> RunId {
    RunId::derived(&[b"run"])
}

fn thread() -> ThreadId {
    ThreadId::derived(&[b"thread"])
}

/// A whole small run: ten pieces of text, the step, the end.
pub fn log() -> Vec<Event> {
    let at = Timestamp::from_micros(1);
    let mut events =
        vec![Event::AttemptStarted { fence: 1, session: None, at }, Event::StepStarted { step: 1.into(), model: "m".into() }];
    events.extend((0..10).map(|n| Event::TextDelta { step: 1.into(), text: format!("t{n} ") }));
    let parts = vec![Part::text(whole_text())];
    events.push(Event::StepFinished { step: 1.into(), parts: parts.clone(), usage: Usage::default() });
    let message = Message {
        id: MessageId::derived(&[b"m"]),
        thread: thread(),
        run: run(),
        turn_number: 1,
        role: Role::Assistant,
        parts,
        unfinished: false,
        internal: false,
        created_at: at,
    };
    events.push(Event::RunFinished(Box::new(Finished {
        state: StateName::Completed,
        reason: String::new(),
        detail: String::new(),
        message: Some(message),
        promoted: None,
        usage: Usage::default(),
        at,
        closed_calls: Vec::new(),
    })));
    events
}

/// What the run of [`log`] says.
pub fn whole_text() -> String {
    (0..10).map(|n| format!("t{n} ")).collect()
}

/// The log's chain after its first `seq` events.
pub fn chain(seq: u64) -> Chain {
    use prost::Message as _;
    let bytes: Vec<Vec<u8>> = log().into_iter().map(|event| event.into_wire().encode_to_vec()).collect();
    Chain::START.then_all(bytes.iter().take(usize::try_from(seq).unwrap()).map(Vec::as_slice))
}

/// The cursor after event `seq`.
pub fn cursor(seq: u64) -> String {
    Cursor::start(thread(), run()).at(seq, chain(seq)).to_string()
}

pub fn frame(frame: Frame) -> AttachRunResponse {
    AttachRunResponse { frame: Some(frame) }
}

/// Events `from` to `to` of the log, both included.
pub fn events(from: u64, to: u64) -> AttachRunResponse {
    let index = |seq: u64| usize::try_from(seq).unwrap();
    let events = log()[index(from - 1)..index(to)].iter().cloned().map(runmesh_wire::IntoWire::into_wire).collect();
    frame(Frame::Events(pb::Events {
        first_seq: i64::try_from(from).unwrap(),
        chain_before: chain(from - 1).0,
        chain_after: chain(to).0,
        events,
        cursor: cursor(to),
    }))
}

/// The fold up to `seq`, in two parts.
pub fn snapshot(seq: u64) -> Vec<AttachRunResponse> {
    let mut view = RunView::default();
    log().iter().take(usize::try_from(seq).unwrap()).for_each(|event| view.apply(event));
    (view.seq, view.chain) = (seq, chain(seq));
    let last = snapshot::head(&view, cursor(seq), false);
    let steps = view.steps.iter().map(|(key, step)| snapshot::step(key, step)).collect();
    let first = pb::Snapshot { steps, complete: false, cursor: String::new(), finished: None, ..last.clone() };
    vec![frame(Frame::Snapshot(first)), frame(Frame::Snapshot(last))]
}

pub fn reset() -> AttachRunResponse {
    frame(Frame::Reset(pb::Reset { reason: pb::reset::Reason::LogTruncated.into() }))
}

pub fn end(reason: pb::end::Reason) -> AttachRunResponse {
    let state: runmesh_client::pb::run::run::State = StateName::Completed.into_wire();
    frame(Frame::End(pb::End { reason: reason.into(), cursor: String::new(), state: state.into() }))
}

/// The last number of the log.
pub fn last() -> u64 {
    log().len() as u64
}
