//! What happens after a commit: the run log and the feed get the transitions, workers are woken, holders get their hints. All of
//! it may fail or be cut short; the sweeper finishes it from the rows that are not marked.

mod failing;
mod left_over;

use failing::Failing;

use crate::effects::AfterCommit;
use crate::marks::Marks;
use crate::work_signal::WorkSignal;
use runmesh_bus::{Bus, CancelHint, CaughtUp};
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::journal::Step;
use runmesh_domain::log::{Journal, Known, Position, Tail};
use runmesh_domain::run::{RunIds, StateName};
use runmesh_domain::transition::{Cause, Transition};
use runmesh_store::Db;
use runmesh_store::runs::Committed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "fail-points")]
use runmesh_store::fail_point;

/// Runs whose transitions one replica publishes at once; what is beyond is left to the sweeper.
const PUBLISHING_MAX: usize = 512;

/// A committed transition is for its own replica to publish during this time, and for every sweeper after it.
pub const OWN_TIME: Duration = Duration::from_millis(500);

/// Publishes what transactions committed. Clones share everything.
#[derive(Clone, Debug)]
pub struct Publisher {
    db: Db,
    bus: Bus,
    marks: Marks,
    work: Arc<WorkSignal>,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    failing: Failing,
}

impl Publisher {
    /// Over the database and the bus. `work` is raised when a run became READY: a service that claims runs waits on it. `tasks`
    /// counts what is under way.
    #[must_use]
    pub fn new(db: Db, bus: Bus, work: Arc<WorkSignal>, tasks: TaskTracker) -> Self {
        let (marks, permits) = (Marks::default(), Arc::new(Semaphore::new(PUBLISHING_MAX)));
        Self { db, bus, marks, work, tasks, permits, failing: Failing::default() }
    }

    /// With another bound on the runs whose transitions are published at once.
    #[must_use]
    pub fn with_publishing_max(self, most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), ..self }
    }

    /// Publishes what a transaction committed. Returns at once; the publishing goes on by itself.
    pub fn publish(&self, after: AfterCommit) {
        let AfterCommit { transitions, cancel_hints, deleted_thread, lost_members } = after;
        self.hint_threads(transitions.iter().map(|row| (row.ids, &row.transition)), deleted_thread);
        self.publish_transitions(transitions);
        if let Some(org) = lost_members {
            self.bus.hint_members(org);
        }
        for CancelHint { run, fence, session } in cancel_hints {
            self.bus.hint_cancel(run, fence, session);
        }
    }

    /// Wakes every replica that may claim runs of the org, for runs of which it is not known whether they became READY.
    pub fn wake(&self, org: Option<OrgId>) {
        self.work.work_arrived();
        if let Some(org) = org {
            self.bus.wake(org);
        }
    }

    /// Says to those who wait for the next turn of a thread that there may be one, or that the thread is gone. Each thread is
    /// hinted at once.
    fn hint_threads<'a>(
        &self,
        transitions: impl IntoIterator<Item = (RunIds, &'a Transition)>,
        deleted: Option<(OrgId, ThreadId)>,
    ) {
        let placed = transitions.into_iter().filter(|(_, transition)| gives_a_place(transition));
        let threads: BTreeSet<_> = placed.map(|(ids, _)| (ids.org, ids.thread)).chain(deleted).collect();
        threads.into_iter().for_each(|(org, thread)| self.bus.hint_thread(org, thread));
    }

    /// Writes the marks of what was published, in batches, until `soft` is cancelled, and once more then.
    pub async fn write_marks(self, soft: CancellationToken) {
        self.marks.write_until(&self.db, &soft).await;
    }

    fn publish_transitions(&self, transitions: Vec<Committed>) {
        let runs = by_run(transitions);
        self.wake_for(&runs);
        for rows in runs.into_values() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                tracing::debug!("publishing is at its bound, the sweeper publishes the rest");
                return;
            };
            let publisher = self.clone();
            self.tasks.spawn(tracing::Instrument::in_current_span(async move {
                publisher.publish_run(rows).await;
                drop(permit);
            }));
        }
    }

    /// Only for runs that were left READY: nobody is needed for one that was accepted and claimed in the same transaction.
    fn wake_for(&self, runs: &BTreeMap<RunId, Vec<Committed>>) {
        let ready = runs.values().filter_map(|rows| rows.last()).filter(|row| row.transition.to == StateName::Ready);
        let mut orgs: Vec<OrgId> = ready.map(|row| row.ids.org).collect();
        orgs.sort_unstable();
        orgs.dedup();
        if !orgs.is_empty() {
            self.work.work_arrived();
        }
        for org in orgs {
            self.bus.wake(org);
        }
    }

    /// Publishes the transitions of one run, in order of version.
    async fn publish_run(&self, rows: Vec<Committed>) {
        #[cfg(feature = "fail-points")]
        fail_point::reach("Publish", "begin");
        let Some(rows) = of_one_run(rows) else { return };
        let transitions: Vec<Transition> = rows.transitions.iter().map(|(transition, _)| transition.clone()).collect();
        let (ids, version) = (rows.ids, transitions.last().map_or(0, |last| last.version));
        let (fed, logged) = futures::join!(self.publish_on_feed(ids, &transitions), self.publish_in_log(&rows));
        #[cfg(feature = "fail-points")]
        fail_point::reach("Publish", "unmarked");
        match fed {
            Ok(()) => self.marks.fed(ids.id, version),
            Err(error) => tracing::debug!(run = %ids.id, %error, "not published on the feed, the sweeper will"),
        }
        match logged {
            Ok(true) => self.marks.logged(ids.id, version),
            Ok(false) => {}
            Err(error) => tracing::debug!(run = %ids.id, %error, "not published in the run log, the sweeper will"),
        }
    }

    async fn publish_on_feed(&self, ids: RunIds, transitions: &[Transition]) -> Result<()> {
        #[cfg(feature = "fail-points")]
        fail_point::keep_from("Publish", "logged").await;
        self.bus.feed().publish(ids, transitions).await?;
        #[cfg(feature = "fail-points")]
        fail_point::reach("Publish", "fed");
        Ok(())
    }

    /// Whether the log holds them now: it is left as it is while there is nothing to show.
    async fn publish_in_log(&self, rows: &NewRows) -> Result<bool> {
        if !shows_something(&rows.transitions) {
            return Ok(false);
        }
        #[cfg(feature = "fail-points")]
        fail_point::keep_from("Publish", "fed").await;
        let known = rows.known();
        let is_new = known.position.seq == 0 && known.transitions.first().is_some_and(|(first, _)| first.version == 1);
        match self.bus.log().try_catch_up(rows.ids.into(), &known, is_new.then(Tail::default)).await? {
            CaughtUp::Yes(_) => {}
            // The log lacks transitions that had nothing to show, or steps: they are published now, with these.
            CaughtUp::Lacks(_) => self.catch_up(rows.ids.id).await?,
        }
        #[cfg(feature = "fail-points")]
        fail_point::reach("Publish", "logged");
        Ok(true)
    }
}

/// What one transaction committed of a run.
struct NewRows {
    ids: RunIds,
    position: Position,
    last_step: u32,
    /// The step that it journaled, when that is the last one.
    steps: Vec<Step>,
    transitions: Vec<(Transition, bool)>,
}

impl NewRows {
    fn known(&self) -> Known<'_> {
        let journal = Journal { last_step: self.last_step, steps: &self.steps, is_whole: false };
        Known { position: self.position, journal, transitions: &self.transitions }
    }
}

/// The transitions of one run, in order of version.
fn of_one_run(rows: Vec<Committed>) -> Option<NewRows> {
    let Committed { ids, position, last_step, .. } = *rows.last()?;
    let (mut steps, mut transitions) = (Vec::new(), Vec::new());
    for row in rows {
        steps.extend(row.step.map(|step| *step));
        transitions.push((row.transition, false));
    }
    Some(NewRows { ids, position, last_step, steps, transitions })
}

/// Whether a transition gives its turn a place in the conversation of its thread: it starts, or ends without having started.
fn gives_a_place(transition: &Transition) -> bool {
    let was_queued = matches!(transition.from, None | Some(StateName::Queued));
    was_queued && transition.to != StateName::Queued
}

/// A run that was only accepted or promoted has nothing to show yet: its claim or its end publishes these transitions too.
fn shows_something(transitions: &[(Transition, bool)]) -> bool {
    transitions.iter().any(|(transition, _)| !matches!(transition.cause, Cause::Accepted | Cause::Promoted))
}

fn by_run(committed: Vec<Committed>) -> BTreeMap<RunId, Vec<Committed>> {
    let mut runs: BTreeMap<RunId, Vec<Committed>> = BTreeMap::new();
    for row in committed {
        runs.entry(row.ids.id).or_default().push(row);
    }
    runs
}
