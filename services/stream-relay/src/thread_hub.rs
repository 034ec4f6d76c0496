//! The threads whose next turn somebody waits for here. Each has one entry, one subscription and one look at Postgres for all its
//! viewers; it is there as long as one of them waits.

mod entry;
mod follow;
mod looks;

pub use entry::Answer;
pub use looks::Looks;

use entry::Entry;
use runmesh_bus::Bus;
use runmesh_domain::id::{OrgId, ThreadId, UserId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

/// A thread of an org.
pub type Key = (OrgId, ThreadId);

/// Every thread that somebody waits at. Clones share them. Bounded by the seats of the relay: each entry has a viewer.
#[derive(Debug, Clone)]
pub struct ThreadHub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: Bus,
    tasks: TaskTracker,
    state: Mutex<State>,
    /// Wakes the looks, because a thread is due.
    due: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Arc<Entry>>,
    /// Threads to look at. Some may have no entry any more.
    due: HashSet<Key>,
}

/// One viewer's wait at a thread. Dropped, the wait is over.
#[derive(Debug)]
pub struct Waiting {
    hub: ThreadHub,
    entry: Arc<Entry>,
    user: UserId,
    changes: watch::Receiver<u64>,
}

impl ThreadHub {
    /// Nobody waits yet.
    pub fn new(bus: Bus, tasks: TaskTracker) -> Self {
        Self { inner: Arc::new(Inner { bus, tasks, state: Mutex::default(), due: Notify::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at a thread for a person. The first viewer has it subscribed to; each one has it looked at once more, so that
    /// nothing is missed that was committed before.
    pub fn wait(&self, org: OrgId, thread: ThreadId, user: UserId) -> Waiting {
        let key = (org, thread);
        let mut state = self.state();
        let known = state.entries.get(&key).cloned();
        let is_known = known.is_some();
        let entry = known.unwrap_or_else(|| Arc::new(Entry::new(key)));
        entry.join(user);
        if is_known {
            drop(state);
            self.look_at(key);
        } else {
            state.entries.insert(key, Arc::clone(&entry));
            drop(state);
            // Looks once the subscription is there. The tracker owns it: a drain waits for it.
            drop(self.inner.tasks.spawn(follow::follow(self.clone(), self.inner.bus.clone(), Arc::clone(&entry))));
        }
        Waiting { hub: self.clone(), user, changes: entry.changes(), entry }
    }

    fn leave(&self, entry: &Arc<Entry>, user: UserId) {
        let mut state = self.state();
        if entry.part(user) {
            state.entries.remove(&entry.key());
            state.due.remove(&entry.key());
        }
    }

    /// Has a thread looked at.
    fn look_at(&self, key: Key) {
        self.state().due.insert(key);
        self.inner.due.notify_one();
    }

    /// Has every thread looked at for which `is_wanted`.
    fn look_at_those(&self, is_wanted: impl Fn(&Key) -> bool) {
        let mut state = self.state();
        let State { entries, due } = &mut *state;
        due.extend(entries.keys().filter(|key| is_wanted(key)));
        drop(state);
        self.inner.due.notify_one();
    }

    /// Takes threads that are due, at most so many.
    fn take_due(&self, most: usize) -> Vec<Arc<Entry>> {
        let mut state = self.state();
        let State { entries, due } = &mut *state;
        let taken: Vec<Key> = due.iter().take(most).copied().collect();
        taken.iter().for_each(|key| {
            due.remove(key);
        });
        taken.iter().filter_map(|key| entries.get(key).cloned()).collect()
    }

    async fn is_due(&self) {
        self.inner.due.notified().await;
    }

    /// How many threads are waited at.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.state().entries.len()
    }
}

impl Waiting {
    /// What the last look found, for this viewer; later changes are waited for with [`Waiting::changed`].
    pub fn answer(&mut self) -> Answer {
        self.changes.mark_unchanged();
        self.entry.answer(self.user)
    }

    /// Waits until a look finds something else. Cancel safe.
    pub async fn changed(&mut self) {
        // The entry that would be closed is held by this very value.
        let _open = self.changes.changed().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hub.leave(&self.entry, self.user);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use runmesh_bus::BusConfig;
    use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
    use runmesh_testkit::until;
    use std::time::Duration;
    use uuid::Uuid;

    #[tokio::test]
    async fn one_entry_serves_all_viewers_and_ends_with_the_last() {
        let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
        let bus = Bus::connect(BusConfig::new(nats.url(), "test")).await.unwrap();
        let tasks = TaskTracker::new();
        let hub = ThreadHub::new(bus.clone(), tasks.clone());
        let (org, thread) = (OrgId::of_name("o"), ThreadId::from_uuid(Uuid::now_v7()));
        let viewers: Vec<_> = (0..50).map(|n| hub.wait(org, thread, UserId::of_subject("i", &(n % 5).to_string()))).collect();
        assert_eq!((hub.len(), tasks.len()), (1, 1));
        let due = async || hub.take_due(10).pop();
        let entry = until("the thread is due", Duration::from_secs(30), due).await;
        assert_eq!(entry.people().len(), 5, "each person is asked for once");
        // Only once it is subscribed to, a hint makes it due again.
        let due = async || {
            bus.hint_thread(org, thread);
            hub.take_due(10).pop()
        };
        until("a hint makes it due", Duration::from_secs(30), due).await;
        drop(viewers);
        assert_eq!(hub.len(), 0);
        tasks.close();
        tokio::time::timeout(Duration::from_secs(30), tasks.wait()).await.unwrap();
    }
}
