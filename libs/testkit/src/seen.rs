//! What a viewer was told, and the questions that tests ask of it.

use crate::mesh::Run;
use runmesh_client::history::History;
use runmesh_client::{Client, EndReason, Follow, Start, Update};
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::run::StateName;
use std::time::Duration;

/// How long a viewer follows at most.
const DEADLINE: Duration = Duration::from_secs(90);

/// Everything that one viewer was told.
pub struct Seen {
    history: History,
    view: RunView,
    from_start: bool,
    reconnects: usize,
    end: Option<EndReason>,
}

impl Seen {
    /// Follows a run to its end.
    pub async fn follow(client: Client, run: &Run, start: Start) -> Self {
        let from_start = start == Start::Beginning || start == Start::Cursor(run.cursor.clone());
        let follow = client.follow(run.id, start);
        let seen = tokio::time::timeout(DEADLINE, Self::collect(follow, from_start)).await;
        seen.unwrap_or_else(|_| panic!("{}: no end within {DEADLINE:?}", run.id))
    }

    async fn collect(mut follow: Follow, from_start: bool) -> Self {
        let mut history = History::default();
        let (mut reconnects, mut end) = (0, None);
        while let Some(update) = follow.next().await {
            let update = update.expect("the stream keeps its promises");
            history.take(&update);
            match update {
                Update::Reconnecting { .. } => reconnects += 1,
                Update::End { reason, .. } => end = Some(reason),
                _ => {}
            }
        }
        Self { history, view: follow.view().clone(), from_start, reconnects, end }
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
