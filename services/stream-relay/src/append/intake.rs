//! What a worker sends, checked, encoded and numbered, until it is published. Pure.

use bytes::Bytes;
use prost::Message as _;
use runmesh_domain::limits::{BATCH_BYTES_MAX, EVENT_BYTES_MAX};
use runmesh_domain::log::Held;
use runmesh_domain::path::StepKey;
use runmesh_domain::{Refusal, Result};
use runmesh_wire::convert::{step_key, unsigned};
use runmesh_wire::pb::relay::append_request::Message as Request;
use runmesh_wire::pb::relay::{AppendEvents, AppendRequest};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::run_event::Kind;
use runmesh_wire::pb::thread::part::Content;
use std::collections::VecDeque;

/// Events of one batch: what readers decode at once is bounded, however small they are.
const BATCH_EVENTS_MAX: usize = 1_024;

/// An event as it is published, and what it changes of what the log holds of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Bytes,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    None,
    /// The StepFinished of a step with so many calls.
    Step(StepKey, usize),
    /// The result of a call.
    Result(StepKey, u32),
}

impl Encoded {
    /// What the log holds of the journal after it.
    pub fn after(&self, held: Held) -> Held {
        match &self.change {
            Change::None => held,
            Change::Step(step, calls) => held.after_step(step, *calls),
            Change::Result(step, call_index) => held.after_result(step, *call_index),
        }
    }
}

/// Events that wait to be published. At most a batch and one message of the worker.
#[derive(Debug)]
pub struct Pending {
    events: VecDeque<Encoded>,
    bytes: usize,
    /// The number of the last event that was taken in.
    last: u64,
}

impl Pending {
    /// After event `number` of the attempt.
    pub const fn after(number: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, last: number }
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the worker is to be read.
    pub const fn has_room(&self) -> bool {
        self.bytes < BATCH_BYTES_MAX
    }

    /// Takes in a message. Numbers that were taken in before are skipped; true when all of them are in the log, whose last
    /// is `in_log`, so that the worker is to hear so.
    pub fn take(&mut self, request: AppendRequest, in_log: u64) -> Result<bool> {
        let AppendEvents { first_number, events } = match request.message {
            Some(Request::Events(events)) => events,
            Some(Request::Open(_)) => return Err(Refusal::field("open", "comes once").into()),
            None => return Err(Refusal::field("message", "want events").into()),
        };
        let first: u64 = unsigned("events.first_number", first_number)?;
        if first == 0 || first > self.last + 1 {
            let problem = format!("is {first}; at most {} comes next", self.last + 1);
            return Err(Refusal::field("events.first_number", problem).into());
        }
        let known = usize::try_from(self.last + 1 - first).unwrap_or(usize::MAX);
        let is_old = events.len() <= known;
        for (index, event) in events.into_iter().enumerate().skip(known) {
            let event = checked(event, index)?;
            self.bytes += event.bytes.len();
            self.events.push_back(event);
            self.last += 1;
        }
        Ok(is_old && self.last <= in_log)
    }

    /// The next batch: its events, and the number of its last one.
    pub fn next_batch(&mut self) -> (u64, Vec<Encoded>) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(event) = self.events.front() {
            let is_full = bytes + event.bytes.len() > BATCH_BYTES_MAX || batch.len() >= BATCH_EVENTS_MAX;
            if !batch.is_empty() && is_full {
                break;
            }
            bytes += event.bytes.len();
            batch.extend(self.events.pop_front());
        }
        self.bytes -= bytes;
        // The header's number is counted from before the batch: the bus adds nothing to it.
        (self.last - self.events.len() as u64, batch)
    }

    /// Puts a batch that may not have landed back to the front.
    pub fn put_back(&mut self, batch: Vec<Encoded>) {
        self.bytes += batch.iter().map(|event| event.bytes.len()).sum::<usize>();
        for event in batch.into_iter().rev() {
            self.events.push_front(event);
        }
    }

    /// Drops what the log holds; it may hold more than was taken in here, through another stream of the attempt. True when
    /// anything was dropped.
    pub fn drop_up_to(&mut self, number: u64) -> bool {
        let first = self.last + 1 - self.events.len() as u64;
        let covered = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX).min(self.events.len());
        let dropped: usize = self.events.drain(..covered).map(|event| event.bytes.len()).sum();
        self.bytes -= dropped;
        self.last = self.last.max(number);
        covered > 0
    }
}

/// An event that a worker may write. It is stored as it came: a newer worker's kinds and fields are for readers that know them.
fn checked(bytes: Bytes, index: usize) -> Result<Encoded, Refusal> {
    let refuse = |problem: String| Err(Refusal::field(format!("events.events[{index}]"), problem));
    if bytes.is_empty() {
        return refuse("is empty; an event is of one kind".into());
    }
    if bytes.len() > EVENT_BYTES_MAX {
        return refuse(format!("has {} bytes; at most {EVENT_BYTES_MAX}", bytes.len()));
    }
    let event = match pb::RunEvent::decode(bytes.clone()) {
        Ok(event) => event,
        Err(error) => return refuse(format!("is no RunEvent: {error}")),
    };
    let (step_index, path) = match &event.kind {
        None => return Ok(Encoded { bytes, change: Change::None }),
        Some(Kind::AttemptStarted(_) | Kind::ApprovalRequested(_) | Kind::RunFinished(_) | Kind::LogRestarted(_)) => {
            return refuse("is of a kind that only a transition writes".into());
        }
        Some(Kind::StepStarted(event)) => (event.step_index, &event.path),
        Some(Kind::TextDelta(event)) => (event.step_index, &event.path),
        Some(Kind::ReasoningDelta(event)) => (event.step_index, &event.path),
        Some(Kind::ToolCallStarted(event)) => (event.step_index, &event.path),
        Some(Kind::ToolCallArgumentsDelta(event)) => (event.step_index, &event.path),
        Some(Kind::ToolCallFinished(event)) => (event.step_index, &event.path),
        Some(Kind::StepRetracted(event)) => (event.step_index, &event.path),
        Some(Kind::StepFinished(event)) => (event.step_index, &event.path),
        Some(Kind::ModelRetrying(event)) => (event.step_index, &event.path),
        Some(Kind::ContextReported(event)) => (0, &event.path),
    };
    // Whatever cannot be read back would be skipped by every reader of the log, and be in no fold.
    let step = step_key(&format!("events.events[{index}]"), step_index, path)?;
    Ok(Encoded { change: change(&event, step), bytes })
}

fn change(event: &pb::RunEvent, step: StepKey) -> Change {
    match &event.kind {
        Some(Kind::StepFinished(finished)) => {
            let calls = finished.parts.iter().filter(|part| matches!(part.content, Some(Content::ToolCall(_)))).count();
            Change::Step(step, calls)
        }
        Some(Kind::ToolCallFinished(result)) => {
            u32::try_from(result.call_index).map_or(Change::None, |call_index| Change::Result(step, call_index))
        }
        _ => Change::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Error;
    use runmesh_wire::pb::thread::{Part, ToolCallPart};

    fn text(text: impl Into<String>) -> pb::RunEvent {
        pb::RunEvent { kind: Some(Kind::TextDelta(pb::TextDelta { step_index: 1, text: text.into(), path: String::new() })) }
    }

    fn encoded(content: &str) -> Encoded {
        Encoded { bytes: text(content).encode_to_vec().into(), change: Change::None }
    }

    fn message(first_number: i64, events: Vec<pb::RunEvent>) -> AppendRequest {
        let events = events.into_iter().map(|event| event.encode_to_vec().into()).collect();
        AppendRequest { message: Some(Request::Events(AppendEvents { first_number, events })) }
    }

    fn field_of(outcome: Result<bool>) -> String {
        match outcome {
            Err(Error::Refused(Refusal::InvalidField { field, .. })) => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_was_taken_in_before_is_skipped_and_holes_are_refused() {
        let mut pending = Pending::after(2);
        assert_eq!(pending.take(message(1, vec![text("1"), text("2")]), 2), Ok(true));
        assert_eq!(pending.take(message(2, vec![text("2"), text("3"), text("4")]), 2), Ok(false));
        assert_eq!(pending.take(message(3, vec![text("3")]), 2), Ok(false));
        let (number, batch) = pending.next_batch();
        assert_eq!((number, batch), (4, vec![encoded("3"), encoded("4")]));
        assert_eq!(field_of(pending.take(message(6, vec![text("6")]), 4)), "events.first_number");
        assert_eq!(field_of(pending.take(message(0, vec![]), 4)), "events.first_number");
    }

    #[test]
    fn transitions_and_giants_are_refused() {
        let mut pending = Pending::after(0);
        let end = pb::RunEvent { kind: Some(Kind::RunFinished(pb::RunFinished::default())) };
        assert_eq!(field_of(pending.take(message(1, vec![text("a"), end]), 0)), "events.events[1]");
        let mut pending = Pending::after(0);
        assert_eq!(field_of(pending.take(message(1, vec![text("x".repeat(EVENT_BYTES_MAX))]), 0)), "events.events[0]");
        assert_eq!(field_of(pending.take(message(1, vec![pb::RunEvent::default()]), 0)), "events.events[0]");
    }

    #[test]
    fn kinds_and_fields_of_a_newer_worker_are_stored_as_they_came() {
        // Field 900 of an event, and field 99 within a text delta: neither is known.
        let kind = Bytes::from_static(&[0xa2, 0x38, 0x02, b'h', b'i']);
        let mut field = text("x").encode_to_vec();
        field.extend([0x9a, 0x06, 0x01, b'!']);
        let events = vec![kind.clone(), field.clone().into()];
        let request = AppendRequest { message: Some(Request::Events(AppendEvents { first_number: 1, events })) };
        let mut pending = Pending::after(0);
        assert_eq!(pending.take(request, 0), Ok(false));
        let stored: Vec<_> = pending.next_batch().1.into_iter().map(|event| event.bytes).collect();
        assert_eq!(stored, [kind, field.into()]);
        let broken = AppendEvents { first_number: 3, events: vec![Bytes::from_static(&[0xff])] };
        let request = AppendRequest { message: Some(Request::Events(broken)) };
        assert_eq!(field_of(pending.take(request, 2)), "events.events[0]");
    }

    #[test]
    fn what_landed_after_all_is_not_sent_again() {
        let mut pending = Pending::after(0);
        assert!(pending.take(message(1, (1..=5).map(|n| text(n.to_string())).collect()), 0).is_ok());
        let (number, batch) = pending.next_batch();
        assert_eq!((number, batch.len(), pending.bytes), (5, 5, 0));
        pending.put_back(batch);
        assert!(pending.drop_up_to(3));
        assert!(!pending.drop_up_to(3));
        assert_eq!(pending.next_batch(), (5, vec![encoded("4"), encoded("5")]));
        assert!(pending.is_empty() && pending.bytes == 0);
    }

    #[test]
    fn what_another_stream_of_the_attempt_wrote_counts() {
        let mut pending = Pending::after(0);
        assert!(pending.take(message(1, vec![text("1"), text("2")]), 0).is_ok());
        assert!(pending.drop_up_to(4));
        assert_eq!(pending.take(message(3, vec![text("3"), text("4")]), 4), Ok(true));
        assert_eq!(pending.take(message(3, vec![text("3"), text("4"), text("5")]), 4), Ok(false));
        assert_eq!(pending.next_batch(), (5, vec![encoded("5")]));
    }

    #[test]
    fn batches_are_bounded_and_so_is_what_waits() {
        let mut pending = Pending::after(0);
        let large = || text("x".repeat(200 << 10));
        assert!(pending.take(message(1, vec![large(), large(), large()]), 0).is_ok());
        assert!(!pending.has_room());
        assert_eq!(pending.next_batch().0, 2);
        assert!(pending.has_room());
        assert_eq!(pending.next_batch().0, 3);
    }

    #[test]
    fn the_header_follows_the_steps_of_the_events() {
        let parts = vec![Part { content: Some(Content::ToolCall(ToolCallPart::default())) }];
        let finished = Kind::StepFinished(pb::StepFinished { step_index: 1, parts, ..pb::StepFinished::default() });
        let result = Kind::ToolCallFinished(pb::ToolCallFinished { step_index: 1, ..pb::ToolCallFinished::default() });
        let mut pending = Pending::after(0);
        let events = [finished, result].map(|kind| pb::RunEvent { kind: Some(kind) });
        assert_eq!(pending.take(message(1, vec![text("1"), events[0].clone(), events[1].clone()]), 0), Ok(false));
        let (_, batch) = pending.next_batch();
        let held: Vec<_> =
            (1..=3).map(|events| batch[..events].iter().fold(Held::default(), |held, event| event.after(held))).collect();
        let shown: Vec<_> = held.iter().map(|held| (held.step, held.open_calls.iter().count())).collect();
        assert_eq!(shown, [(0, 0), (1, 1), (1, 0)]);
    }

    #[test]
    fn a_batch_holds_no_more_events_than_readers_decode_at_once() {
        let mut pending = Pending::after(0);
        let events = vec![text("x"); BATCH_EVENTS_MAX + 1];
        assert_eq!(pending.take(message(1, events), 0), Ok(false));
        assert_eq!(pending.next_batch().1.len(), BATCH_EVENTS_MAX);
        assert_eq!(pending.next_batch().1.len(), 1);
    }
}
