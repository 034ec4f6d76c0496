//! What happens after a commit: the log learns of the transitions, the feed too, and workers are woken. All of it may fail or
//! be cut short; the sweeper finishes it from the rows that are not marked.

use crate::mesh::Mesh;
use runmesh_bus::CaughtUp;
use runmesh_domain::id::{OrgId, RunId};
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::{Cause, Transition};
use runmesh_store::runs::Committed;
use std::collections::BTreeMap;

impl Mesh {
    /// Tells everybody who should know about `committed`. Returns at once; the telling goes on by itself.
    pub fn tell(&self, committed: Vec<Committed>) {
        let runs = by_run(committed);
        self.wake_for(&runs);
        for rows in runs.into_values() {
            let Ok(permit) = std::sync::Arc::clone(&self.publishing).try_acquire_owned() else {
                tracing::debug!("publishing is at its bound, leaving the rest to the sweeper");
                return;
            };
            let mesh = self.clone();
            self.tasks.spawn(tracing::Instrument::in_current_span(async move {
                mesh.publish(rows).await;
                drop(permit);
            }));
        }
    }

    /// Only for runs that were left READY: one that was accepted and claimed in the same breath needs nobody.
    fn wake_for(&self, runs: &BTreeMap<RunId, Vec<Committed>>) {
        let ready = runs.values().filter_map(|rows| rows.last()).filter(|row| row.transition.to == StateName::Ready);
        let mut orgs: Vec<OrgId> = ready.map(|row| row.ids.org).collect();
        orgs.sort_unstable();
        orgs.dedup();
        if !orgs.is_empty() {
            self.ready.work();
        }
        for org in orgs {
            self.bus.wake(org);
        }
    }

    /// Publishes the transitions of one run, in order of version.
    async fn publish(&self, rows: Vec<Committed>) {
        let Some(last) = rows.last() else { return };
        let (ids, position, version) = (last.ids, last.position, last.transition.version);
        let transitions: Vec<Transition> = rows.into_iter().map(|row| row.transition).collect();
        let feed = self.bus.feed().publish(ids, &transitions);
        let log = async {
            if !shows_something(&transitions) {
                return Ok(false);
            }
            let is_new = position.seq == 0 && transitions.first().is_some_and(|first| first.version == 1);
            let rows: Vec<_> = transitions.iter().map(|transition| (transition.clone(), false)).collect();
            let told = self.bus.log().try_catch_up(ids.into(), position, &rows, is_new.then(Tail::default));
            match told.await? {
                CaughtUp::Yes(_) => Ok(true),
                // It lacks what had nothing to show, and now comes along.
                CaughtUp::Hole { .. } => self.catch_up(ids.id).await.map(|()| true),
            }
        };
        let (fed, logged) = futures::join!(feed, log);
        match fed {
            Ok(()) => self.marks.fed(ids.id, version),
            Err(error) => tracing::debug!(run = %ids.id, %error, "feed not reached, the sweeper will"),
        }
        match logged {
            Ok(true) => self.marks.logged(ids.id, version),
            Ok(false) => {}
            Err(error) => tracing::debug!(run = %ids.id, %error, "log not caught up, the sweeper will"),
        }
    }
}

/// A run that was only accepted or promoted has nothing to show yet: its claim brings these rows along, or its end.
fn shows_something(transitions: &[Transition]) -> bool {
    transitions.iter().any(|transition| !matches!(transition.cause, Cause::Accepted | Cause::Promoted))
}

fn by_run(committed: Vec<Committed>) -> BTreeMap<RunId, Vec<Committed>> {
    let mut runs: BTreeMap<RunId, Vec<Committed>> = BTreeMap::new();
    for row in committed {
        runs.entry(row.ids.id).or_default().push(row);
    }
    runs
}
