//! Streams that must pass, and streams that must not.

use super::*;
use runmesh_domain::event::Event;
use runmesh_domain::journal::Usage;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Finished;
use runmesh_wire::IntoWire as _;

fn text(text: &str) -> Event {
    Event::TextDelta { step: 1.into(), text: text.into() }
}

fn finished() -> Event {
    let at = runmesh_domain::Timestamp::from_micros(1);
    let state = StateName::Completed;
    let (reason, detail, message, promoted) = (String::new(), String::new(), None, None);
    Event::RunFinished(Box::new(Finished {
        state,
        reason,
        detail,
        message,
        promoted,
        usage: Usage::default(),
        at,
        closed_calls: Vec::new(),
    }))
}

/// Events from `first` on, in a log whose chain at seq n is n.
fn events(first: u64, events: Vec<Event>) -> Frame {
    let after = first + events.len() as u64 - 1;
    Frame::Events(pb::Events {
        first_seq: i64::try_from(first).unwrap_or(i64::MAX),
        chain_before: first - 1,
        chain_after: after,
        events: events.into_iter().map(runmesh_wire::IntoWire::into_wire).collect(),
        cursor: format!("at {after}"),
    })
}

fn snapshot_at(seq: u64, complete: bool) -> Frame {
    let step = pb::snapshot::Step { step_index: 1, text: "x".into(), ..pb::snapshot::Step::default() };
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let chain = seq.unsigned_abs();
    let cursor = if complete { format!("at {seq}") } else { String::new() };
    Frame::Snapshot(pb::Snapshot { steps: vec![step], complete, seq, chain, cursor, ..pb::Snapshot::default() })
}

fn reset() -> Frame {
    Frame::Reset(pb::Reset { reason: pb::reset::Reason::LogTruncated.into() })
}

fn end() -> Frame {
    let state: runmesh_wire::pb::run::run::State = StateName::Completed.into_wire();
    Frame::End(pb::End { reason: pb::end::Reason::Finished.into(), cursor: String::new(), state: state.into() })
}

/// The problem of the first frame that does not fit, if one does not.
fn problem(start: Start, frames: Vec<Frame>) -> Option<String> {
    let mut tracker = Tracker::new(start);
    frames.into_iter().find_map(|frame| tracker.take(frame).err()).map(|error| error.to_string())
}

#[test]
fn streams_that_fit_pass() {
    let rest = || vec![events(3, vec![text("c"), finished()]), end()];
    let start = vec![events(1, vec![text("a")]), events(2, vec![text("b")])];
    assert_eq!(problem(Start::Beginning, start.into_iter().chain(rest()).collect()), None);
    let snapshot = vec![snapshot_at(2, false), snapshot_at(2, true)];
    assert_eq!(problem(Start::Snapshot, snapshot.into_iter().chain(rest()).collect()), None);
    assert_eq!(problem(Start::Live, rest()), None);
    let voided = vec![events(1, vec![text("a")]), reset(), snapshot_at(2, true)];
    assert_eq!(problem(Start::Beginning, voided.into_iter().chain(rest()).collect()), None);
}

#[test]
fn streams_that_do_not_fit_are_errors() {
    let first = || events(1, vec![text("a"), text("b")]);
    let wrong: Vec<(&str, Start, Vec<Frame>)> = vec![
        ("repeated", Start::Beginning, vec![first(), first()]),
        ("repeated", Start::Beginning, vec![first(), events(2, vec![text("b"), text("c")])]),
        ("missing", Start::Beginning, vec![first(), events(4, vec![text("d")])]),
        ("missing", Start::Beginning, vec![events(2, vec![text("b")])]),
        ("missing", Start::Beginning, vec![first(), Frame::Progress(pb::Progress { seq: 3, ..pb::Progress::default() })]),
        ("before the snapshot", Start::Snapshot, vec![first()]),
        ("before the snapshot", Start::Beginning, vec![first(), reset(), events(3, vec![text("c")])]),
        ("nobody asked for", Start::Beginning, vec![first(), snapshot_at(2, true)]),
        ("parts of one snapshot", Start::Snapshot, vec![snapshot_at(2, false), snapshot_at(3, true)]),
        ("after the end of the run", Start::Beginning, vec![events(1, vec![finished()]), events(2, vec![text("b")])]),
        ("does not end the run", Start::Beginning, vec![first(), end()]),
        ("does not end the run", Start::Snapshot, vec![end()]),
    ];
    for (want, start, frames) in wrong {
        let problem = problem(start, frames);
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(want)), "want {want}, got {problem:?}");
    }
}

#[test]
fn another_chain_is_attached_to_again_and_counted() {
    let mut tracker = Tracker::new(Start::Beginning);
    assert!(tracker.take(events(1, vec![text("a")])).is_ok());
    let forked = || {
        let Frame::Events(frame) = events(2, vec![text("b")]) else { return end() };
        Frame::Events(pb::Events { chain_before: 99, ..frame })
    };
    for count in 1..=bounds::MISMATCHES_MAX {
        assert!(matches!(tracker.take(forked()), Ok(Taken::Mismatch)));
        assert_eq!(tracker.mismatches(), count);
        assert_eq!(tracker.attach_from(), Start::Cursor("at 1".into()));
    }
    assert!(tracker.take(forked()).is_err(), "not for ever");
    assert_eq!(tracker.view().seq, 1, "nothing of the other log was taken");
}

#[test]
fn a_readable_cursor_says_what_is_held() {
    let (thread, run) = (runmesh_domain::id::ThreadId::derived(&[b"t"]), runmesh_domain::id::RunId::derived(&[b"r"]));
    let cursor = Cursor::start(thread, run).at(4, Chain(4));
    let start = || Start::Cursor(cursor.to_string());
    assert_eq!(problem(start(), vec![events(5, vec![text("e")])]), None);
    assert!(problem(start(), vec![events(4, vec![text("d")])]).is_some());
    assert!(!Tracker::new(start()).is_whole());
    assert!(Tracker::new(Start::Cursor(Cursor::start(thread, run).to_string())).is_whole());
}

#[test]
fn a_live_follower_comes_back_to_where_it_was_before_its_first_event() {
    let (thread, run) = (runmesh_domain::id::ThreadId::derived(&[b"t"]), runmesh_domain::id::RunId::derived(&[b"r"]));
    let at = |seq: u64| Cursor::start(thread, run).at(seq, Chain(seq)).to_string();
    let alive = |seq: i64, cursor: &str| Frame::Progress(pb::Progress { seq, cursor: cursor.to_owned() });
    let mut tracker = Tracker::new(Start::Live);
    assert!(tracker.take(alive(0, "")).is_ok());
    assert_eq!(tracker.attach_from(), Start::Live, "nobody said where that is");
    assert!(tracker.take(alive(4, &at(4))).is_ok());
    assert_eq!(tracker.attach_from(), Start::Cursor(at(4)));
    assert!(!tracker.is_whole());
    assert!(tracker.take(events(6, vec![text("f")])).is_err(), "event 5 is missing");
    assert!(tracker.take(events(5, vec![text("e")])).is_ok());
    assert!(tracker.take(alive(5, &at(5))).is_ok());
    assert_eq!(tracker.attach_from(), Start::Cursor("at 5".into()), "what was told last says where to come back to");
}

#[test]
fn a_reset_asks_for_a_snapshot_should_the_stream_break() {
    let mut tracker = Tracker::new(Start::Beginning);
    for frame in [events(1, vec![text("a")]), reset(), snapshot_at(9, false)] {
        assert!(tracker.take(frame).is_ok());
    }
    assert_eq!(tracker.attach_from(), Start::Snapshot);
    assert!(tracker.take(snapshot_at(12, true)).is_ok(), "the half snapshot is forgotten");
    assert_eq!(tracker.view().text(), "x");
}
