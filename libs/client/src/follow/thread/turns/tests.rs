//! Threads' streams that must pass, and streams that must not.

use super::*;
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::id::ThreadId;
use runmesh_domain::journal::Usage;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Finished;
use runmesh_wire::IntoWire as _;

fn run(turn: u8) -> RunId {
    RunId::derived(&[&[turn]])
}

/// In a log whose chain at seq n is n; the start of a log has a chain of its own.
fn cursor(turn: u8, seq: u64) -> String {
    let start = Cursor::start(ThreadId::derived(&[b"t"]), run(turn));
    if seq == 0 { start.to_string() } else { start.at(seq, Chain(seq)).to_string() }
}

fn turn(turn: u8, cursor: String) -> Frame {
    Frame::Turn(pb::Turn { run_id: run(turn).to_string(), turn_number: turn.into(), cursor, place: turn.into() })
}

fn begins(number: u8) -> Frame {
    turn(number, cursor(number, 0))
}

fn text() -> Event {
    Event::TextDelta { step: 1.into(), text: "x".into() }
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

fn event(turn: u8, seq: u64, event: Event) -> Frame {
    let chain_before = if seq == 1 { Chain::START.0 } else { seq - 1 };
    let first_seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let events = vec![event.into_wire()];
    Frame::Events(pb::Events { first_seq, chain_before, chain_after: seq, events, cursor: cursor(turn, seq) })
}

/// A turn of two events.
fn whole(turn: u8) -> Vec<Frame> {
    vec![begins(turn), event(turn, 1, text()), event(turn, 2, finished())]
}

fn idle(turn: u8, seq: u64) -> Frame {
    Frame::Progress(pb::Progress { seq: 0, cursor: cursor(turn, seq) })
}

fn problem(frames: Vec<Frame>) -> Option<String> {
    let mut turns = Turns::new(ThreadStart::Snapshot);
    frames.into_iter().find_map(|frame| turns.take(frame).err()).map(|error| error.to_string())
}

#[test]
fn turns_that_follow_on_each_other_pass() {
    assert_eq!(problem([whole(1), whole(2), vec![idle(2, 2)], whole(3)].concat()), None);
    assert_eq!(problem([vec![idle(0, 0)], whole(1)].concat()), None);
    let joined_live = vec![turn(1, String::new())];
    assert_eq!(problem([joined_live.clone(), vec![event(1, 2, finished())], whole(2)].concat()), None);
    assert_eq!(problem([joined_live, whole(2)].concat()), None, "it ended in that moment");
}

#[test]
fn turns_that_do_not_are_errors() {
    let cut = vec![begins(1), event(1, 1, text())];
    let wrong = [
        ("left after event 1", [cut.clone(), whole(2)].concat()),
        ("left after event 1", [cut.clone(), vec![idle(1, 1)]].concat()),
        ("left after event 0", [vec![begins(1)], whole(2)].concat()),
        ("turn 1 at place 1 follows turn 2 at place 2", [whole(2), whole(1)].concat()),
        ("before any turn", vec![event(1, 1, text())]),
        ("missing", vec![begins(1), event(1, 2, text())]),
        ("repeated", [cut, vec![event(1, 1, text())]].concat()),
    ];
    for (want, frames) in wrong {
        let problem = problem(frames);
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(want)), "want {want}, got {problem:?}");
    }
}

#[test]
fn a_turn_that_goes_on_is_told_once_and_from_where_it_was_left() -> Result<(), ClientError> {
    let mut turns = Turns::new(ThreadStart::Snapshot);
    assert_eq!(turns.attach_from(), ThreadStart::Snapshot);
    assert!(matches!(turns.take(begins(1))?, Taken::Told(ThreadUpdate::Turn { turn_number: 1, .. })));
    // Broken before its first frame: it is not passed over, should it end meanwhile.
    assert_eq!(turns.attach_from(), ThreadStart::Cursor(cursor(1, 0)));
    assert!(matches!(turns.take(begins(1))?, Taken::Nothing));
    turns.take(event(1, 1, text()))?;
    assert_eq!(turns.attach_from(), ThreadStart::Cursor(cursor(1, 1)));
    assert!(matches!(turns.take(turn(1, cursor(1, 1)))?, Taken::Nothing));
    turns.take(event(1, 2, finished()))?;
    assert_eq!((turns.view().seq, turns.is_whole()), (2, true));
    turns.take(idle(1, 2))?;
    assert!(matches!(turns.take(begins(2))?, Taken::Told(ThreadUpdate::Turn { turn_number: 2, .. })));
    assert_eq!(turns.view().seq, 0);
    Ok(())
}

#[test]
fn a_turn_that_is_void_is_told_from_its_beginning() -> Result<(), ClientError> {
    let mut turns = Turns::new(ThreadStart::Snapshot);
    for frame in [begins(1), event(1, 1, text()), Frame::Reset(pb::Reset::default())] {
        turns.take(frame)?;
    }
    assert_eq!(turns.attach_from(), ThreadStart::Cursor(cursor(1, 0)));
    turns.take(begins(1))?;
    turns.take(event(1, 1, text()))?;
    assert_eq!(turns.view().seq, 1);
    Ok(())
}
