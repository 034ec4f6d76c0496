//! The runs in hand: what heartbeats name, and where their answers reach the runs.

use crate::control::Control;
use runmesh_domain::id::RunId;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::pb::worker::Lease;
use runmesh_wire::{FromWire as _, IntoWire as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The runs that a worker drives.
#[derive(Debug, Default)]
pub(super) struct Held {
    runs: Mutex<HashMap<RunId, Entry>>,
    /// A heartbeat is wanted now.
    beat: Notify,
}

#[derive(Debug)]
struct Entry {
    fence: u64,
    /// The session that the lease belongs to.
    session: String,
    control: Arc<Control>,
}

/// Takes a run out of hand when its task ends, however it ends.
#[derive(Debug)]
pub(super) struct Guard {
    held: Arc<Held>,
    run: HeldRun,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut runs = self.held.lock();
        if runs.get(&self.run.run).is_some_and(|entry| entry.fence == self.run.fence) {
            runs.remove(&self.run.run);
        }
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Entry>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run in hand, under a lease of `session`. An older attempt of the same run is lost by that. `None` when this attempt, or a later one, is
    /// in hand already.
    pub(super) fn take(self: &Arc<Self>, run: HeldRun, session: &str, control: Arc<Control>) -> Option<Guard> {
        let mut runs = self.lock();
        if runs.get(&run.run).is_some_and(|entry| entry.fence >= run.fence) {
            return None;
        }
        if let Some(older) = runs.insert(run.run, Entry { fence: run.fence, session: session.to_owned(), control }) {
            older.control.lost.cancel();
        }
        Some(Guard { held: Arc::clone(self), run })
    }

    /// The leases of `session`, as a heartbeat names them.
    pub(super) fn leases(&self, session: &str) -> Vec<Lease> {
        let runs = self.lock();
        let of_session = runs.iter().filter(|(_, entry)| entry.session == session);
        of_session.map(|(run, entry)| HeldRun { run: *run, fence: entry.fence }.into_wire()).collect()
    }

    /// Hands the control of an attempt to `act`, if that attempt is in hand.
    pub(super) fn with_lease(&self, lease: Lease, act: impl FnOnce(&Control)) {
        let lease: Result<HeldRun, _> = lease.from_wire("lease");
        let Ok(lease) = lease else { return };
        if let Some(entry) = self.lock().get(&lease.run).filter(|entry| entry.fence == lease.fence) {
            act(&entry.control);
        }
    }

    /// `session` is gone, and with it its leases.
    pub(super) fn lose(&self, session: &str) {
        self.lock().values().filter(|entry| entry.session == session).for_each(|entry| entry.control.lost.cancel());
    }

    /// Waits until a heartbeat is wanted before its time.
    pub(super) async fn beat_wanted(&self) {
        self.beat.notified().await;
    }
}

/// Tells a worker of this process that there may be news of a run. A hint does nothing by itself: it makes the worker
/// ask the mesh at once instead of at its next heartbeat.
#[derive(Debug, Clone)]
pub struct Hints(pub(super) Arc<Held>);

impl Hints {
    /// A cancel of `run` may have been acknowledged. Nothing happens when the worker does not drive it.
    pub fn cancel(&self, run: RunId) {
        if self.0.lock().contains_key(&run) {
            self.0.beat.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    fn run(fence: u64) -> HeldRun {
        HeldRun { run: RunId::derived(&[b"r"]), fence }
    }

    fn control() -> Arc<Control> {
        Arc::new(Control::new(String::new(), CancellationToken::new(), CancellationToken::new()))
    }

    #[test]
    fn a_later_attempt_takes_the_place_of_an_earlier_one() {
        let held = Arc::new(Held::default());
        let (first, second) = (control(), control());
        let guard = held.take(run(1), "s", Arc::clone(&first));
        assert!(guard.is_some());
        assert!(held.take(run(1), "s", control()).is_none());
        let later = held.take(run(2), "s", second);
        assert!(first.lost.is_cancelled());
        drop(guard);
        assert_eq!(held.leases("s").len(), 1);
        drop(later);
        assert!(held.leases("s").is_empty());
    }

    #[test]
    fn a_lost_session_takes_its_own_leases_only() {
        let held = Arc::new(Held::default());
        let control = control();
        let _guard = held.take(run(1), "new", Arc::clone(&control));
        held.lose("old");
        assert!(held.leases("old").is_empty());
        assert!(!control.lost.is_cancelled());
        held.lose("new");
        assert!(control.lost.is_cancelled());
    }

    #[test]
    fn words_reach_the_attempt_they_name() {
        let held = Arc::new(Held::default());
        let control = control();
        let _guard = held.take(run(1), "s", Arc::clone(&control));
        let other = HeldRun { run: RunId::derived(&[b"other"]), fence: 1 };
        held.with_lease(other.into_wire(), |control| control.lost.cancel());
        held.with_lease(Lease { run_id: "nonsense".into(), fence: 1 }, |control| control.lost.cancel());
        held.with_lease(run(2).into_wire(), |control| control.lost.cancel());
        assert!(!control.lost.is_cancelled());
        held.with_lease(run(1).into_wire(), |control| control.lost.cancel());
        assert!(control.lost.is_cancelled());
    }
}
