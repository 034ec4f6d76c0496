//! A view as the parts of a snapshot, none of which is larger than a stream's message may be.

use super::frame;
use crate::limits;
use prost::Message as _;
use runmesh_bus::fitted;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::fold::{RunView, StepView};
use runmesh_domain::path::StepKey;
use runmesh_wire::convert::snapshot::{head, step};
use runmesh_wire::pb::relay::AttachRunResponse;
use runmesh_wire::pb::relay::attach_run_response::Frame;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::snapshot::Step;

/// What stands where something was cut.
const CUT: &str = "… (cut)";

/// The parts of a view, the last one complete and with the cursor.
pub fn snapshot(mut view: RunView, at: Cursor, from_database: bool) -> Vec<AttachRunResponse> {
    let steps = std::mem::take(&mut view.steps);
    view.finished = view.finished.map(|finished| Box::new(fitted(*finished)));
    let last = head(&view, at.to_string(), from_database);
    let part = |steps| pb::Snapshot { steps, complete: false, cursor: String::new(), finished: None, ..last.clone() };
    let mut parts = Vec::new();
    let (mut open, mut bytes) = (Vec::new(), 0);
    for piece in steps.iter().flat_map(|(key, view)| pieces(key, view)) {
        let size = piece.encoded_len();
        if bytes + size > limits::SNAPSHOT_PART_BYTES && !open.is_empty() {
            parts.push(part(std::mem::take(&mut open)));
            bytes = 0;
        }
        bytes += size;
        open.push(piece);
    }
    // The end of a run is an event's size, and a part leaves that much room.
    parts.push(pb::Snapshot { steps: open, ..last });
    parts.into_iter().map(|part| frame(Frame::Snapshot(part.encode_to_vec().into()))).collect()
}

/// A step in one piece, or in several when it is too large for a part: texts are added up by the reader,
/// and each call comes whole.
fn pieces(key: &StepKey, view: &StepView) -> Vec<Step> {
    let mut whole = step(key, view);
    for call in &mut whole.calls {
        cut(&mut call.content);
        cut(&mut call.arguments_json);
    }
    if whole.encoded_len() <= limits::SNAPSHOT_PART_BYTES {
        return vec![whole];
    }
    let Step { step_index, text, reasoning, calls, finished, path } = whole;
    let empty = || Step { step_index, finished, path: path.clone(), ..Step::default() };
    let reasonings = chunks(&reasoning).map(|reasoning| Step { reasoning, ..empty() });
    let texts = chunks(&text).map(|text| Step { text, ..empty() });
    let calls = calls.into_iter().map(|call| Step { calls: vec![call], ..empty() });
    reasonings.chain(texts).chain(calls).collect()
}

fn cut(text: &mut String) {
    if text.len() > limits::SNAPSHOT_CALL_BYTES {
        text.truncate(text.floor_char_boundary(limits::SNAPSHOT_CALL_BYTES - CUT.len()));
        text.push_str(CUT);
    }
}

fn chunks(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (chunk, left) = rest.split_at(rest.floor_char_boundary(limits::SNAPSHOT_PART_BYTES / 2));
        rest = left;
        Some(chunk.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::fold::CallView;
    use runmesh_domain::id::{RunId, ThreadId};
    use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
    use runmesh_domain::path::Path;

    fn put_together(parts: &[AttachRunResponse]) -> RunView {
        let mut view = RunView::default();
        for part in parts {
            assert!(part.encoded_len() <= STREAM_MESSAGE_BYTES_MAX);
            let Some(Frame::Snapshot(part)) = part.frame.clone() else { panic!("{part:?}") };
            let part = pb::Snapshot::decode(part).unwrap_or_default();
            assert!(runmesh_wire::convert::snapshot::add(&mut view, part).is_ok());
        }
        view
    }

    fn cursor() -> Cursor {
        let id = Default::default();
        Cursor::start(ThreadId::from_uuid(id), RunId::from_uuid(id))
    }

    #[test]
    fn a_view_of_any_size_comes_back_as_it_went() {
        let mut view = RunView { seq: 7, fence: 1, ..RunView::default() };
        let call = CallView { name: "t".into(), arguments: "{}".into(), outcome: Some(("r".repeat(200 << 10), false)) };
        for index in 1..=3 {
            let calls = (0..8).map(|index| (index, call.clone())).collect();
            let step = StepView { text: "é".repeat(900 << 10), reasoning: "r".repeat(2 << 20), calls, finished: true };
            view.steps.insert(StepKey::top(index), step.clone());
            view.steps.insert(StepKey { path: Path::parse("", "1.0/1.7").unwrap_or_default(), step_index: index }, step);
        }
        let parts = snapshot(view.clone(), cursor(), false);
        assert_eq!(put_together(&parts), view);
        let is_complete = |part: &&AttachRunResponse| matches!(&part.frame, Some(Frame::Snapshot(part)) if pb::Snapshot::decode(part.clone()).unwrap_or_default().complete);
        let complete = parts.iter().filter(is_complete);
        assert_eq!(complete.count(), 1);
    }

    #[test]
    fn an_empty_view_is_one_part() {
        assert_eq!(snapshot(RunView::default(), cursor(), false).len(), 1);
    }

    #[test]
    fn what_a_tool_said_is_cut() {
        let mut view = RunView::default();
        let call = CallView { name: "t".into(), arguments: String::new(), outcome: Some(("é".repeat(1 << 20), false)) };
        view.steps.entry(1.into()).or_default().calls.insert(0, call);
        let parts = snapshot(view, cursor(), true);
        let outcome = put_together(&parts).steps[&StepKey::top(1)].calls[&0].outcome.clone();
        assert!(outcome.is_some_and(|(content, _)| content.len() <= limits::SNAPSHOT_CALL_BYTES && content.ends_with(CUT)));
    }
}
