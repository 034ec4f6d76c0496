//! Events of transitions as the log takes them: none is larger than the log's bound. What is cut stays whole in Postgres.

use prost::Message as _;
use runmesh_domain::event::Event;
use runmesh_domain::limits::EVENT_BYTES_MAX;
use runmesh_domain::message::Part;
use runmesh_domain::text;
use runmesh_domain::transition::Finished;
use runmesh_wire::IntoWire as _;
use runmesh_wire::pb::stream::RunEvent;

use crate::limits::SUMMARY_BYTES_MAX;

/// An encoded event within the bound.
pub fn encode(event: Event) -> Vec<u8> {
    match event {
        Event::RunFinished(finished) => encode_finished(*finished),
        Event::ApprovalRequested { action, mut summary } => {
            cut(&mut summary, SUMMARY_BYTES_MAX);
            bytes(Event::ApprovalRequested { action, summary })
        }
        other => bytes(other),
    }
}

fn encode_finished(finished: Finished) -> Vec<u8> {
    bytes(Event::RunFinished(Box::new(fitted(finished))))
}

/// The end of a run as small as an event must be. Its message is cut until it fits: what tools said and the model thought
/// first, then the longest texts, then all of it.
#[must_use]
pub fn fitted(finished: Finished) -> Finished {
    if fits(&finished) {
        return finished;
    }
    let others_first = [8 << 10, 1 << 10, 128].map(|others| (usize::MAX, others));
    let texts_then = [EVENT_BYTES_MAX / 2, EVENT_BYTES_MAX / 8, 8 << 10, 1 << 10, 128].map(|text| (text, 128));
    for (text, others) in others_first.into_iter().chain(texts_then) {
        let shorter = shortened(&finished, text, others);
        if fits(&shorter) {
            return shorter;
        }
    }
    Finished { message: None, ..finished }
}

fn fits(finished: &Finished) -> bool {
    bytes(Event::RunFinished(Box::new(finished.clone()))).len() <= EVENT_BYTES_MAX
}

fn shortened(finished: &Finished, text_max: usize, others_max: usize) -> Finished {
    let mut finished = finished.clone();
    for part in finished.message.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::Text { text } => cut(text, text_max),
            Part::Reasoning { text, .. } => cut(text, others_max),
            Part::ToolCall { arguments, .. } => cut(arguments, others_max),
            Part::ToolResult { content, .. } => cut(content, others_max),
        }
    }
    finished
}

fn cut(text: &mut String, bytes_max: usize) {
    *text = text::cut(std::mem::take(text), bytes_max);
}

fn bytes(event: Event) -> Vec<u8> {
    let event: RunEvent = event.into_wire();
    event.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;
    use runmesh_domain::id::{MessageId, RunId, ThreadId};
    use runmesh_domain::journal::Usage;
    use runmesh_domain::message::{Message, Role};
    use runmesh_domain::run::StateName;
    use runmesh_wire::FromWire as _;
    use uuid::Uuid;

    fn finished(parts: Vec<Part>) -> Event {
        let (id, at) = (Uuid::from_u128(1), Timestamp::from_micros(0));
        let message = Message {
            id: MessageId::from_uuid(id),
            thread: ThreadId::from_uuid(id),
            run: RunId::from_uuid(id),
            turn_number: 1,
            role: Role::Assistant,
            parts,
            unfinished: false,
            internal: false,
            created_at: at,
        };
        Event::RunFinished(Box::new(Finished {
            state: StateName::Completed,
            reason: String::new(),
            detail: String::new(),
            message: Some(message),
            promoted: None,
            usage: Usage::default(),
            at,
            closed_calls: Vec::new(),
        }))
    }

    fn result(bytes: usize) -> Part {
        Part::ToolResult { call_id: "c".into(), name: "t".into(), content: "é".repeat(bytes / 2), is_error: false }
    }

    #[test]
    fn the_answer_stays_whole_when_tools_said_too_much() {
        let event = encode(finished(vec![result(1 << 20), Part::text("the answer")]));
        assert!(event.len() <= EVENT_BYTES_MAX);
        let back: Result<Event, _> = RunEvent::decode(event.as_slice()).unwrap_or_default().from_wire("");
        let Ok(Event::RunFinished(back)) = back else { panic!("{back:?}") };
        assert!(back.message.is_some_and(|message| message.parts[1] == Part::text("the answer")));
    }

    #[test]
    fn nothing_passes_the_bound() {
        for parts in [vec![Part::text("x".repeat(1 << 21))], vec![result(4_096); 5_000], vec![Part::text("a".repeat(9)); 400]] {
            assert!(encode(finished(parts)).len() <= EVENT_BYTES_MAX);
        }
    }
}
