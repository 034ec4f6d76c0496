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
        if self.any_version {
            return Seen { view, ..self.seen };
        }
        self.seen.history.check_content(self.seen.from_start).unwrap_or_else(|broken| panic!("{run}: {broken}"));
        assert_eq!(shown(&self.seen.history.fold()), shown(&view), "{run}: the view is not the fold of its events");
        let is_whole = self.seen.from_start || self.seen.history.has_snapshot();
        if view.finished.is_some() && is_whole {
            let mut late = Self {
                any_version: false,
                follow: self.client.follow(run, Start::Snapshot),
                seen: Seen::default(),
                client: self.client,
            };
            late.rest().await;
            assert_eq!(shown(late.follow.view()), shown(&view), "{run}: a late snapshot shows something else than its events");
        }
        Seen { view, ..self.seen }
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
