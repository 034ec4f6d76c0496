//! What the buffer does when streams come back, logs lose their tails, and nobody takes anything.

use super::*;
use runmesh_domain::chain::Chain;
use runmesh_domain::fold::RunView;
use runmesh_domain::journal::{Call, CallState, ModelStep, Usage};
use runmesh_domain::message::Part;
use runmesh_domain::path::Path;
use runmesh_domain::policy::Verdict;

fn position(seq: u64) -> Position {
    Position { seq, chain: Chain(seq) }
}

fn started(number: u64) -> Started {
    Started { number, position: position(number + 1), ..Started::default() }
}

fn begun(step_index: u32) -> Event {
    Event::StepStarted { step: step_index.into(), model: "m".into() }
}

fn delta(step_index: u32, text: &str) -> Event {
    Event::TextDelta { step: step_index.into(), text: text.into() }
}

fn finished(step_index: u32, text: &str) -> Event {
    Event::StepFinished { step: step_index.into(), parts: vec![Part::text(text)], usage: Usage::default() }
}

fn journaled(state: CallState) -> Step {
    let asked = Part::tool_call("c", "t", "{}");
    let call = Call {
        call_index: 0,
        call_id: "c".into(),
        name: "t".into(),
        arguments: "{}".into(),
        state,
        verdict: Verdict::Allow,
        idempotent: true,
        idempotency_key: "k".into(),
        content: "r".into(),
    };
    let result = ModelStep { parts: vec![asked], ..ModelStep::default() };
    Step {
        path: Path::TOP,
        step_index: 1,
        fence: 1,
        result,
        calls: vec![call],
        created_at: runmesh_domain::Timestamp::from_micros(0),
    }
}

fn fold(events: &[Event]) -> RunView {
    let mut view = RunView::default();
    events.iter().for_each(|event| view.apply(event));
    view
}

#[test]
fn nothing_goes_out_before_open_steps_are_settled() {
    let mut buffer = Buffer::new(position(0), &[journaled(CallState::Done)]);
    buffer.push(begun(2));
    assert!(!buffer.has_unsent());
    buffer.started(&Started { open_steps: vec![1.into(), 2.into()], open_calls: vec![], ..started(0) });
    let (first, events) = buffer.next_batch();
    assert_eq!(first, 1);
    assert!(matches!(events[0], Event::StepFinished { step: StepKey { step_index: 1, .. }, .. }));
    assert!(matches!(events[1], Event::ToolCallFinished { step: StepKey { step_index: 1, .. }, .. }));
    assert_eq!(events[2], Event::StepRetracted { step: 2.into(), reason: ATTEMPT_LOST.into() });
    assert_eq!(events[3], begun(2));
}

#[test]
fn open_calls_are_settled_from_the_journal_when_it_knows_their_end() {
    let open = Started { open_calls: vec![StepKey::top(1).call(0)], ..started(0) };
    let mut done = Buffer::new(position(0), &[journaled(CallState::Failed)]);
    done.started(&open);
    assert!(matches!(done.next_batch().1[..], [Event::ToolCallFinished { is_error: true, .. }]));
    let mut waiting = Buffer::new(position(0), &[journaled(CallState::Reserved)]);
    waiting.started(&open);
    assert!(waiting.is_flushed());
}

#[test]
fn a_new_stream_carries_what_was_not_acknowledged() {
    let mut buffer = Buffer::new(position(0), &[]);
    buffer.started(&started(0));
    [begun(1), delta(1, "a"), delta(1, "b")].into_iter().for_each(|event| buffer.push(event));
    assert_eq!(buffer.next_batch().1.len(), 3);
    buffer.acked(1, position(2));
    buffer.started(&Started { open_steps: vec![1.into()], ..started(2) });
    assert_eq!(buffer.next_batch(), (3, vec![delta(1, "b")]));
    assert!(!buffer.is_flushed());
    buffer.acked(3, position(4));
    assert!(buffer.is_flushed());
    assert_eq!(buffer.position(), position(4));
}

#[test]
fn a_log_that_lost_acknowledged_events_gets_the_state() {
    let mut buffer = Buffer::new(position(0), &[]);
    buffer.started(&started(0));
    let sent = [begun(1), delta(1, "a"), finished(1, "a"), begun(2), delta(2, "b"), delta(2, "c")];
    sent.iter().for_each(|event| buffer.push(event.clone()));
    buffer.next_batch();
    buffer.acked(6, position(7));
    buffer.push(delta(2, "d"));
    buffer.started(&started(0));
    let (first, events) = buffer.next_batch();
    assert_eq!(first, 1);
    assert_eq!(events, [finished(1, "a"), begun(2), delta(2, "bcd")]);
}

#[test]
fn a_full_buffer_drops_deltas_and_sends_their_steps_anew() {
    let mut buffer = Buffer::new(position(0), &[]);
    buffer.started(&started(0));
    buffer.push(begun(1));
    let mut seen = buffer.next_batch().1;
    let long = "x".repeat(64 << 10);
    let mut all = vec![begun(1)];
    while buffer.has_room() {
        buffer.push(delta(1, &long));
        all.push(delta(1, &long));
    }
    buffer.skip();
    assert!(buffer.has_room());
    for event in [delta(1, "end"), finished(1, "whole"), begun(2), delta(2, "next")] {
        buffer.push(event.clone());
        all.push(event);
    }
    assert!(!buffer.is_flushed());
    assert!(!buffer.has_unsent());
    buffer.acked(1, position(2));
    let (first, sent) = buffer.next_batch();
    assert_eq!(first, 2);
    let again = Event::StepRetracted { step: 2.into(), reason: SENT_AGAIN.into() };
    assert_eq!(sent, [finished(1, "whole"), again, begun(2), delta(2, "next")]);
    seen.extend(sent);
    assert_eq!(fold(&seen), fold(&all));
}

#[test]
fn a_retraction_that_was_dropped_is_sent() {
    let mut buffer = Buffer::new(position(0), &[]);
    buffer.started(&started(0));
    buffer.push(begun(1));
    buffer.next_batch();
    buffer.skip();
    buffer.push(Event::StepRetracted { step: 1.into(), reason: "broke".into() });
    buffer.acked(1, position(2));
    assert_eq!(buffer.next_batch().1, [Event::StepRetracted { step: 1.into(), reason: RETRACTED.into() }]);
}

#[test]
fn a_step_that_the_log_never_got_is_sent_whole() {
    let mut buffer = Buffer::new(position(0), &[journaled(CallState::Done)]);
    buffer.push(begun(2));
    buffer.started(&Started { open_steps: vec![1.into()], ..started(0) });
    let sent = buffer.next_batch().1;
    assert!(matches!(
        sent[..],
        [
            Event::StepFinished { step: StepKey { step_index: 1, .. }, .. },
            Event::ToolCallFinished { step: StepKey { step_index: 1, .. }, .. },
            Event::StepStarted { .. }
        ]
    ));
}

#[test]
fn a_log_that_is_begun_anew_before_anything_was_acknowledged_gets_the_state() {
    let mut buffer = Buffer::new(position(0), &[journaled(CallState::Done)]);
    // The log held step 1.
    buffer.started(&started(0));
    buffer.push(begun(2));
    assert_eq!(buffer.next_batch(), (1, vec![begun(2)]));
    // Now it holds nothing.
    buffer.started(&Started { open_steps: vec![1.into()], ..started(0) });
    let (first, sent) = buffer.next_batch();
    assert_eq!(first, 1);
    assert!(matches!(
        sent[..],
        [
            Event::StepFinished { step: StepKey { step_index: 1, .. }, .. },
            Event::ToolCallFinished { step: StepKey { step_index: 1, .. }, .. },
            Event::StepStarted { .. }
        ]
    ));
}

#[test]
fn what_is_on_its_way_is_not_missed() {
    let mut buffer = Buffer::new(position(0), &[journaled(CallState::Done)]);
    let lacking = Started { open_steps: vec![1.into()], ..started(0) };
    buffer.started(&lacking);
    buffer.push(begun(2));
    let sent = buffer.next_batch();
    buffer.started(&lacking);
    assert_eq!(buffer.next_batch(), sent, "the same under the same numbers");
}

fn in_branch(path: &str, event: Event) -> Event {
    let branch = |step: StepKey| StepKey { path: Path::parse("", path).unwrap_or_default(), ..step };
    match event {
        Event::StepStarted { step, model } => Event::StepStarted { step: branch(step), model },
        Event::TextDelta { step, text } => Event::TextDelta { step: branch(step), text },
        Event::StepFinished { step, parts, usage } => Event::StepFinished { step: branch(step), parts, usage },
        other => other,
    }
}

#[test]
fn steps_of_branches_that_others_left_open_are_settled() {
    let branch = |path: &str, step_index| StepKey { path: Path::parse("", path).unwrap_or_default(), step_index };
    let top = journaled(CallState::Dispatched);
    let inner = Step { path: branch("1.0", 1).path, ..journaled(CallState::Done) };
    let mut buffer = Buffer::new(position(0), &[top, inner.clone()]);
    let open_calls = vec![StepKey::top(1).call(0), branch("1.0", 1).call(0)];
    buffer.started(&Started { open_steps: vec![branch("1.0/1.0", 1)], open_calls, ..started(0) });
    let result = Event::ToolCallFinished { step: branch("1.0", 1), call_index: 0, content: "r".into(), is_error: false };
    let retracted = Event::StepRetracted { step: branch("1.0/1.0", 1), reason: ATTEMPT_LOST.into() };
    assert_eq!(buffer.next_batch().1, [retracted, result.clone()], "the call of the top level is still open");

    let mut buffer = Buffer::new(position(0), &[inner]);
    buffer.started(&Started { open_steps: vec![branch("1.0", 1)], open_calls: vec![branch("1.0", 1).call(0)], ..started(0) });
    let events = buffer.next_batch().1;
    assert_eq!((events.len(), &events[1]), (2, &result), "whole, with its result once");
    assert!(matches!(&events[0], Event::StepFinished { step, .. } if *step == branch("1.0", 1)));
}

#[test]
fn branches_side_by_side_are_sent_anew_each_by_itself() {
    let mut buffer = Buffer::new(position(0), &[]);
    buffer.started(&started(0));
    let events = [
        finished(1, "top"),
        in_branch("1.0", begun(1)),
        in_branch("1.1", begun(1)),
        in_branch("1.0", delta(1, "a")),
        in_branch("1.1", delta(1, "b")),
        in_branch("1.0", delta(1, "c")),
        in_branch("1.1", finished(1, "whole")),
        begun(2),
        delta(2, "d"),
    ];
    events.iter().for_each(|event| buffer.push(event.clone()));
    assert_eq!(buffer.next_batch().1.len(), events.len());
    buffer.acked(9, position(9));
    // The log lost all of it.
    buffer.started(&started(0));
    let again = buffer.next_batch().1;
    assert!(again.len() < events.len());
    assert_eq!(fold(&again), fold(&events));
    assert_eq!(fold(&again).steps.len(), 4);
}

#[test]
fn a_repeated_acknowledgement_is_no_sign_of_the_log() {
    let mut buffer = Buffer::new(Position::default(), &[]);
    buffer.started(&started(0));
    buffer.push(delta(1, "a"));
    let _sent = buffer.next_batch();
    buffer.set_away();
    buffer.acked(0, position(1));
    assert!(buffer.is_away(), "the relay lives, and the log takes nothing");
    buffer.acked(1, position(2));
    assert!(!buffer.is_away());
}
