//! Events within the log's bound: long deltas are taken apart, long results and steps are cut.

use super::Event;
use crate::limits::EVENT_BYTES_MAX;
use crate::message::Part;
use crate::text::cut;

/// Bytes of content in one event: the rest of the bound is for what stands around it.
const CONTENT_BYTES_MAX: usize = EVENT_BYTES_MAX - (16 << 10);
/// Bytes of one piece of a long delta.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// What each part of a step costs besides its texts.
const PART_OVERHEAD_BYTES: usize = 16;

/// True when the event needs no cutting.
#[must_use]
pub fn fits(event: &Event) -> bool {
    weight(event) <= PIECE_BYTES_MAX
}

/// About how many bytes an event takes, in memory and on the wire.
#[must_use]
pub fn weight(event: &Event) -> usize {
    const FRAME: usize = 32;
    FRAME
        + match event {
            Event::TextDelta { text, .. } | Event::ReasoningDelta { text, .. } => text.len(),
            Event::ToolCallArgumentsDelta { arguments, .. } => arguments.len(),
            Event::ToolCallStarted { name, .. } => name.len(),
            Event::ToolCallFinished { content, .. } => content.len(),
            Event::StepFinished { parts, .. } => parts.iter().map(part_weight).sum(),
            Event::StepStarted { model, .. } => model.len(),
            Event::StepRetracted { reason, .. } | Event::ModelRetrying { reason, .. } | Event::LogRestarted { reason, .. } => {
                reason.len()
            }
            Event::ApprovalRequested { summary, .. } => summary.len(),
            Event::AttemptStarted { .. } | Event::ContextReported { .. } | Event::RunFinished(_) | Event::Unknown => 0,
        }
}

fn part_weight(part: &Part) -> usize {
    PART_OVERHEAD_BYTES
        + match part {
            Part::Text { text } | Part::Reasoning { text, .. } => text.len(),
            Part::ToolCall { call_id, name, arguments, .. } => call_id.len() + name.len() + arguments.len(),
            Part::ToolResult { call_id, name, content, .. } => call_id.len() + name.len() + content.len(),
        }
}

/// The event as one or more that fit.
#[must_use]
pub fn pieces(event: Event) -> Vec<Event> {
    match event {
        Event::TextDelta { step, text } => split(&text).map(|text| Event::TextDelta { step: step.clone(), text }).collect(),
        Event::ReasoningDelta { step, text } => {
            split(&text).map(|text| Event::ReasoningDelta { step: step.clone(), text }).collect()
        }
        Event::ToolCallArgumentsDelta { step, call_index, arguments } => {
            let piece = |arguments| Event::ToolCallArgumentsDelta { step: step.clone(), call_index, arguments };
            split(&arguments).map(piece).collect()
        }
        Event::ToolCallFinished { step, call_index, content, is_error } => {
            vec![Event::ToolCallFinished { step, call_index, content: cut(content, CONTENT_BYTES_MAX), is_error }]
        }
        Event::StepFinished { step, parts, usage } => {
            vec![Event::StepFinished { step, parts: cut_parts(parts), usage }]
        }
        other => vec![other],
    }
}

fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES_MAX));
        rest = after;
        (!piece.is_empty()).then(|| piece.to_owned())
    })
}

/// No part is left out, so that calls keep their places; the longest texts lose their ends.
fn cut_parts(mut parts: Vec<Part>) -> Vec<Part> {
    while parts.iter().map(part_weight).sum::<usize>() > CONTENT_BYTES_MAX {
        let over = parts.iter().map(part_weight).sum::<usize>() - CONTENT_BYTES_MAX;
        let Some(longest) = parts.iter_mut().max_by_key(|part| part_weight(part)) else { break };
        let before = part_weight(longest);
        let text = match longest {
            Part::Text { text } | Part::Reasoning { text, .. } => text,
            Part::ToolCall { arguments, .. } => arguments,
            Part::ToolResult { content, .. } => content,
        };
        let wanted = text.len().saturating_sub(over.min(text.len() / 2 + 1));
        *text = cut(std::mem::take(text), wanted);
        if part_weight(longest) >= before {
            break;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Usage;

    #[test]
    fn long_deltas_are_taken_apart_without_loss() {
        let text = "ä".repeat(100_000);
        let pieces = pieces(Event::TextDelta { step: 1.into(), text: text.clone() });
        assert_eq!(pieces.len(), 4);
        let whole: String =
            pieces.iter().map(|event| if let Event::TextDelta { text, .. } = event { text.as_str() } else { "" }).collect();
        assert_eq!(whole, text);
    }

    #[test]
    fn long_steps_are_cut_and_keep_their_parts() {
        let call = Part::tool_call("c", "t", "x".repeat(300_000));
        let parts = vec![Part::text("t".repeat(300_000)), call, Part::text("short")];
        let event = Event::StepFinished { step: 1.into(), parts, usage: Usage::default() };
        let cut = pieces(event);
        assert!(weight(&cut[0]) <= EVENT_BYTES_MAX);
        let Event::StepFinished { parts, .. } = &cut[0] else { panic!("another kind") };
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2], Part::text("short"));
    }

    #[test]
    fn long_results_are_cut() {
        let event = Event::ToolCallFinished { step: 1.into(), call_index: 0, content: "r".repeat(1 << 20), is_error: false };
        assert!(!fits(&event));
        assert!(weight(&pieces(event)[0]) <= EVENT_BYTES_MAX);
    }
}
