//! What is shown for made-up runs.

use super::*;
use runmesh_client::ClientError;
use runmesh_client::pb::stream::Status;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::journal::Usage;
use runmesh_domain::message::{Message, Role};
use runmesh_domain::path::StepKey;
use runmesh_domain::run::StateName;

/// Feeds events one update each, as a follower does.
struct Viewer {
    renderer: Renderer,
    view: RunView,
    seq: u64,
    pieces: Vec<Piece>,
    whole: bool,
}

impl Viewer {
    fn new(live: bool) -> Self {
        Self { renderer: Renderer::new(live), view: RunView::default(), seq: 0, pieces: Vec::new(), whole: true }
    }

    fn event(&mut self, event: Event) -> &mut Self {
        self.seq += 1;
        self.view.apply(&event);
        let update = Update::Events { events: vec![(self.seq, event)], cursor: String::new() };
        self.update(&update)
    }

    fn update(&mut self, update: &Update) -> &mut Self {
        let pieces = self.renderer.take(update, &self.view, self.whole);
        self.pieces.extend(pieces);
        self
    }

    fn answer(&self) -> String {
        let texts = self.pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "" });
        texts.collect()
    }

    fn lines(&self) -> Vec<&str> {
        let lines = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Note(line) | Piece::Good(line) | Piece::Bad(line) => Some(line.as_str()),
            Piece::Text(_) | Piece::Break => None,
        });
        lines.collect()
    }
}

fn started() -> Event {
    Event::StepStarted { step: 1.into(), model: "m".into() }
}

fn delta(text: &str) -> Event {
    Event::TextDelta { step: 1.into(), text: text.into() }
}

fn step(parts: Vec<Part>) -> Event {
    Event::StepFinished { step: 1.into(), parts, usage: Usage::default() }
}

fn call(name: &str) -> Part {
    Part::tool_call(name, name, r#"{"a":1}"#)
}

fn finished(state: StateName, stored: Option<&str>) -> Event {
    let at = runmesh_domain::Timestamp::from_micros(0);
    let message = stored.map(|text| Message {
        id: MessageId::derived(&[b"m"]),
        thread: ThreadId::derived(&[b"t"]),
        run: RunId::derived(&[b"r"]),
        turn_number: 1,
        role: Role::Assistant,
        parts: vec![Part::text(text)],
        unfinished: false,
        internal: false,
        created_at: at,
    });
    let (reason, detail) = match state {
        StateName::Failed => ("MODEL_UNAVAILABLE".to_owned(), "connection refused".to_owned()),
        _ => (String::new(), String::new()),
    };
    Event::RunFinished(Box::new(Finished {
        state,
        reason,
        detail,
        message,
        promoted: None,
        usage: Usage::default(),
        at,
        closed_calls: Vec::new(),
    }))
}

#[test]
fn text_is_shown_once() {
    let mut viewer = Viewer::new(true);
    viewer.event(started()).event(delta("hel")).event(delta("lo"));
    assert_eq!(viewer.answer(), "hello", "as it arrives");
    viewer.event(step(vec![Part::text("hello")])).event(finished(StateName::Completed, Some("hello")));
    assert_eq!((viewer.answer().as_str(), viewer.lines().len()), ("hello", 0));
}

#[test]
fn a_retracted_step_is_said_to_be_void() {
    let mut viewer = Viewer::new(true);
    let retracted = Event::StepRetracted { step: 1.into(), reason: "lost".into() };
    viewer.event(started()).event(delta("wrong")).event(retracted).event(started()).event(delta("right"));
    viewer.event(step(vec![Part::text("right")])).event(finished(StateName::Completed, Some("right")));
    assert_eq!(viewer.answer(), "wrongright");
    assert_eq!(viewer.lines(), [words::STARTING_OVER], "once, and nothing is corrected at the end");
}

#[test]
fn a_pipe_gets_only_what_is_final() {
    let mut viewer = Viewer::new(false);
    let retracted = Event::StepRetracted { step: 1.into(), reason: "lost".into() };
    viewer.event(started()).event(delta("wrong")).event(retracted).event(started()).event(delta("right"));
    assert_eq!(viewer.answer(), "");
    viewer.event(step(vec![Part::text("right")])).event(finished(StateName::Completed, Some("right")));
    assert_eq!((viewer.answer().as_str(), viewer.lines().len()), ("right", 0));
}

#[test]
fn what_was_stored_has_the_last_word() {
    let mut viewer = Viewer::new(true);
    viewer.event(started()).event(delta("half")).event(finished(StateName::Completed, Some("stored")));
    assert_eq!(viewer.answer(), "halfstored");
    assert_eq!(viewer.lines(), [words::AS_STORED]);
    let mut viewer = Viewer::new(true);
    viewer.event(started()).event(delta("half")).event(finished(StateName::Canceled, Some("half and more")));
    assert_eq!((viewer.answer().as_str(), viewer.lines()), ("half and more", vec!["canceled"]));
    let mut viewer = Viewer::new(true);
    viewer.event(started()).event(delta("half")).event(finished(StateName::Canceled, None));
    assert_eq!(viewer.lines(), [words::NOT_KEPT, "canceled"]);
}

#[test]
fn calls_are_one_line_each() {
    let mut viewer = Viewer::new(true);
    let result = |index, content: &str, is_error| Event::ToolCallFinished {
        step: 1.into(),
        call_index: index,
        content: content.into(),
        is_error,
    };
    viewer.event(started()).event(step(vec![call("get"), call("put")]));
    viewer.event(result(1, "no\nway", true)).event(result(0, "done", false));
    assert_eq!(viewer.lines(), [r#"→ get {"a":1}"#, r#"→ put {"a":1}"#, "✗ put: no …", "✓ get: done"]);
}

#[test]
fn branches_are_labelled_and_no_part_of_the_answer() {
    let mut viewer = Viewer::new(true);
    let branch = |call: u32, step_index| StepKey { path: StepKey::top(1).call(call).branch().unwrap_or_default(), step_index };
    let begun = |step: StepKey| Event::StepStarted { step, model: "m".into() };
    let done = |step: StepKey, parts| Event::StepFinished { step, parts, usage: Usage::default() };
    let result = |step: StepKey| Event::ToolCallFinished { step, call_index: 0, content: "r".into(), is_error: false };
    viewer.event(started()).event(delta("so: ")).event(step(vec![Part::text("so: "), call("ask"), call("ask")]));
    viewer.event(begun(branch(0, 1))).event(begun(branch(1, 1)));
    viewer.event(Event::TextDelta { step: branch(0, 1), text: "void".into() });
    viewer.event(Event::StepRetracted { step: branch(0, 1), reason: "lost".into() });
    viewer.event(done(branch(1, 1), vec![Part::text("from a branch"), call("get")]));
    viewer.event(result(branch(1, 1)));
    viewer.event(finished(StateName::Completed, Some("so: ")));
    assert_eq!(viewer.answer(), "so: ");
    let asked = r#"→ ask {"a":1}"#;
    assert_eq!(viewer.lines(), [asked, asked, "[1.1] from a branch", r#"[1.1] → get {"a":1}"#, "[1.1] ✓ r"]);
}

#[test]
fn a_failure_says_what_to_do() {
    let mut viewer = Viewer::new(true);
    viewer.event(finished(StateName::Failed, None));
    assert_eq!(viewer.lines()[0], "failed: MODEL_UNAVAILABLE: connection refused");
    assert!(viewer.lines()[1].starts_with("try: "));
}

#[test]
fn statuses_and_reconnects_are_said_once() {
    let mut viewer = Viewer::new(true);
    let waiting = Status { state: runmesh_client::pb::run::run::State::Ready.into(), ..Status::default() };
    viewer.update(&Update::Status(waiting)).update(&Update::Status(waiting));
    let broken = || Update::Reconnecting { error: ClientError::Interrupted { problem: "gone" } };
    viewer.update(&broken()).update(&broken());
    assert_eq!(viewer.lines().len(), 2, "{:?}", viewer.lines());
}

#[test]
fn a_snapshot_after_a_reset_starts_over() {
    let mut viewer = Viewer::new(true);
    viewer.event(started()).event(delta("old"));
    let mut view = RunView::default();
    [started(), delta("new")].iter().for_each(|event| view.apply(event));
    viewer.update(&Update::Reset(runmesh_client::ResetReason::LogTruncated)).update(&Update::Snapshot(Box::new(view)));
    assert_eq!((viewer.answer().as_str(), viewer.lines()), ("oldnew", vec![words::STARTING_OVER]));
}

#[test]
fn who_comes_back_with_a_cursor_reads_only_the_rest() {
    let mut viewer = Viewer { whole: false, ..Viewer::new(true) };
    viewer.event(delta("lo")).event(step(vec![Part::text("hello")])).event(finished(StateName::Completed, Some("hello")));
    assert_eq!((viewer.answer().as_str(), viewer.lines().len()), ("lo", 0));
}
