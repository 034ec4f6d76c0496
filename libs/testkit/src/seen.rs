//! What a viewer received, and the questions that tests ask of it.

use crate::mesh::Run;
use runmesh_client::history::History;
use runmesh_client::{Client, EndReason, Follow, Start, Update};
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::run::StateName;
use std::time::Duration;

/// How long a viewer follows at most.
const DEADLINE: Duration = Duration::from_secs(90);

/// A viewer that is attached.
pub struct Viewer {
    any_version: bool,
    client: Client,
    follow: Follow,
    seen: Seen,
}

/// Everything that one viewer was told.
#[derive(Default)]
pub struct Seen {
    history: History,
    view: RunView,
    from_start: bool,
    reconnects: usize,
    end: Option<EndReason>,
}

impl Viewer {
    /// Attaches to a run.
    pub fn new(client: &Client, run: &Run, start: Start) -> Self {
        let from_start = start == Start::Beginning || start == Start::Cursor(run.cursor.clone());
        let follow = client.follow(run.id, start);
        Self { any_version: false, client: client.clone(), follow, seen: Seen { from_start, ..Seen::default() } }
    }

    /// Attaches from the run's first event on, and waits for the first piece of text.
    pub async fn of_text(client: &Client, run: &Run) -> Self {
        let mut viewer = Self::new(client, run, Start::Cursor(run.cursor.clone()));
        let text = |event: &Event| matches!(event, Event::TextDelta { .. });
        let flowing = async {
            while viewer.seen.count(text) == 0 {
                assert!(viewer.step().await, "{}: ended without text", run.id);
            }
        };
        tokio::time::timeout(DEADLINE, flowing).await.unwrap_or_else(|_| panic!("{}: no text within {DEADLINE:?}", run.id));
        viewer
    }

    /// Of a mesh in which the previous release still serves: its logs and snapshots need not hold all that this version's do.
    #[must_use]
    pub const fn of_any_version(mut self) -> Self {
        self.any_version = true;
        self
    }

    /// Waits for `count` more pieces of text.
    pub async fn more_text(&mut self, count: usize) {
        let text = |event: &Event| matches!(event, Event::TextDelta { .. });
        let (run, wanted) = (self.follow.run(), self.seen.count(text) + count);
        let flowing = async {
            while self.seen.count(text) < wanted {
                assert!(self.step().await, "{run}: ended without more text");
            }
        };
        tokio::time::timeout(DEADLINE, flowing).await.unwrap_or_else(|_| panic!("{run}: no more text within {DEADLINE:?}"));
    }

    /// How often it had to come back so far.
    pub fn reconnects(&self) -> usize {
        self.seen.reconnects
    }

    /// Takes one update; false at the end.
    async fn step(&mut self) -> bool {
        let Some(update) = self.follow.next().await else { return false };
        let update = update.expect("the stream keeps its promises");
        self.seen.history.take(&update);
        match update {
            Update::Reconnecting { .. } => self.seen.reconnects += 1,
            Update::End { reason, .. } => self.seen.end = Some(reason),
            _ => {}
        }
        true
    }

    /// Follows to the end. What was shown must be what the run came to, and somebody who comes when it is over must be shown the same.
    pub async fn to_end(mut self) -> Seen {
        let run = self.follow.run();
        self.rest().await;
        let view = self.follow.view().clone();
        let seen = Seen { view, ..self.seen };
        if self.any_version {
            return seen;
        }
        let mut late = None;
        if seen.shows_all() {
            let follow = self.client.follow(run, Start::Snapshot);
            let mut viewer = Self { any_version: false, follow, seen: Seen::default(), client: self.client };
            viewer.rest().await;
            late = Some(viewer.follow.view().clone());
        }
        seen.check(late.as_ref()).unwrap_or_else(|broken| panic!("{run}: {broken}"));
        seen
    }

    async fn rest(&mut self) {
        let run = self.follow.run();
        let all = async { while self.step().await {} };
        tokio::time::timeout(DEADLINE, all).await.unwrap_or_else(|_| panic!("{run}: no end within {DEADLINE:?}"));
    }
}

/// What of a view people see: not where in the log it was read.
fn shown(view: &RunView) -> RunView {
    RunView { seq: 0, chain: Chain::START, ..view.clone() }
}

impl Seen {
    /// Whether it shows the run from its first event to its end.
    fn shows_all(&self) -> bool {
        self.view.finished.is_some() && (self.from_start || self.history.has_snapshot())
    }

    /// What is wrong with it; `late` is what somebody was shown who came when it was over.
    fn check(&self, late: Option<&RunView>) -> Result<(), String> {
        let Self { history, view, from_start, .. } = self;
        history.check_content(*from_start)?;
        let fold = shown(&history.fold());
        if fold != shown(view) {
            return Err(format!("the view is not the fold of its events: {view:?} and {fold:?}"));
        }
        match late {
            Some(late) if shown(late) != shown(view) => {
                Err(format!("a late snapshot shows something else than the events: {late:?} and {view:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The events, in order, with their numbers.
    pub fn events(&self) -> Vec<(u64, Event)> {
        self.history.events()
    }

    /// The fold of everything.
    pub fn view(&self) -> &RunView {
        &self.view
    }

    /// How often the viewer had to come back.
    pub fn reconnects(&self) -> usize {
        self.reconnects
    }

    /// Events of a kind.
    pub fn count(&self, is_kind: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|(_, event)| is_kind(event)).count()
    }

    /// The attempts that began, in order.
    pub fn attempts(&self) -> Vec<u64> {
        let events = self.events().into_iter();
        events.filter_map(|(_, event)| if let Event::AttemptStarted { fence, .. } = event { Some(fence) } else { None }).collect()
    }

    /// S1, S2, R2: every event once and in order, and an end that says so; no Reset.
    pub fn assert_exact(&self) -> &Self {
        self.history.check(self.from_start.then_some(1)).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(self.history.resets(), 0, "nothing was declared void");
        assert_eq!(self.end, Some(EndReason::Finished), "the stream said why it ended");
        self
    }

    /// The state it ended in.
    pub fn assert_state(&self, state: StateName) -> &Self {
        let finished = self.view.finished.as_ref().expect("the run has ended");
        assert_eq!(finished.state, state, "{}: {}", finished.reason, finished.detail);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_client::history::Entry;
    use runmesh_domain::Timestamp;
    use runmesh_domain::journal::Usage;
    use runmesh_domain::message::Part;
    use runmesh_domain::transition::Finished;

    fn finished(text: &str) -> Event {
        Event::StepFinished { step: 1.into(), parts: vec![Part::text(text)], usage: Usage::default() }
    }

    fn end() -> Event {
        Event::RunFinished(Box::new(Finished {
            state: StateName::Canceled,
            reason: String::new(),
            detail: String::new(),
            message: None,
            promoted: None,
            usage: Usage::default(),
            at: Timestamp::from_micros(0),
            closed_calls: Vec::new(),
        }))
    }

    fn seen(events: &[Event]) -> Seen {
        let mut seen = Seen { from_start: true, ..Seen::default() };
        for (seq, event) in (1..).zip(events) {
            seen.history.push(Entry::Event(seq, event.clone()));
            seen.view.take(seq, Chain::START, event);
        }
        seen
    }

    #[test]
    fn what_differs_from_its_events_or_from_a_late_snapshot_is_noticed() {
        let whole = seen(&[finished("a"), end()]);
        assert!(whole.shows_all() && !seen(&[finished("a")]).shows_all());
        let late = RunView { seq: 9, ..whole.view.clone() };
        assert_eq!(whole.check(Some(&late)), Ok(()), "the place in the log is not looked at");
        for other in [seen(&[end()]), seen(&[finished("b"), end()]), seen(&[finished("a")])] {
            let problem = whole.check(Some(&other.view)).err();
            assert!(problem.is_some_and(|problem| problem.starts_with("a late snapshot")));
            let problem = Seen { view: other.view, ..seen(&[finished("a"), end()]) }.check(None).err();
            assert!(problem.is_some_and(|problem| problem.starts_with("the view")));
        }
    }
}
