//! One thread that is waited at: who waits, and what the last look found. Decides nothing about when to look.

use super::Key;
use runmesh_domain::id::UserId;
use runmesh_store::runs::NewestTurn;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a viewer who waits learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: the thread was not looked at for this person.
    Unknown,
    /// The thread is gone, or the person is no member of its org any more.
    Gone,
    /// The thread has no turn.
    Empty,
    /// The last turn of the conversation.
    Newest(NewestTurn),
}

/// See the module.
#[derive(Debug)]
pub struct Entry {
    key: Key,
    state: Mutex<State>,
    /// Counts changes of what is known: viewers wait for it.
    changes: watch::Sender<u64>,
    /// Cancelled when the last viewer has left.
    left: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    people: HashMap<UserId, Person>,
    found: Option<Found>,
}

#[derive(Debug, Default)]
struct Person {
    viewers: usize,
    /// Absent before the first look.
    is_member: Option<bool>,
}

/// What a look found of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is not there any more.
    Gone,
    /// Its last turn, if it has one.
    There(Option<NewestTurn>),
}

impl Entry {
    /// Nobody waits, and nothing is known.
    pub fn new(key: Key) -> Self {
        Self { key, state: Mutex::default(), changes: watch::Sender::new(0), left: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Signals every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// One more viewer of a person waits.
    pub fn join(&self, user: UserId) {
        self.state().people.entry(user).or_default().viewers += 1;
    }

    /// A viewer of a person waits no more. True when nobody waits any more: then the entry is over.
    pub fn part(&self, user: UserId) -> bool {
        let mut state = self.state();
        if let Some(person) = state.people.get_mut(&user) {
            person.viewers -= 1;
            if person.viewers == 0 {
                state.people.remove(&user);
            }
        }
        let is_over = state.people.is_empty();
        if is_over {
            self.left.cancel();
        }
        is_over
    }

    /// Waits until nobody waits any more.
    pub async fn left(&self) {
        self.left.cancelled().await;
    }

    /// Everybody who waits.
    pub fn people(&self) -> Vec<UserId> {
        self.state().people.keys().copied().collect()
    }

    /// Notes what a look found: of those whom it `asked` for, who is a member. A person who came meanwhile waits for the next one.
    pub fn note(&self, found: Found, asked: &[UserId], members: &HashSet<UserId>) {
        let mut state = self.state();
        let mut is_news = state.found.replace(found) != Some(found);
        for user in asked {
            if let Some(person) = state.people.get_mut(user) {
                is_news |= person.is_member.replace(members.contains(user)) != Some(members.contains(user));
            }
        }
        drop(state);
        if is_news {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// What is known for a person.
    pub fn answer(&self, user: UserId) -> Answer {
        let state = self.state();
        let is_member = state.people.get(&user).and_then(|person| person.is_member);
        match (state.found, is_member) {
            (_, Some(false)) | (Some(Found::Gone), _) => Answer::Gone,
            (None, _) | (_, None) => Answer::Unknown,
            (Some(Found::There(None)), Some(true)) => Answer::Empty,
            (Some(Found::There(Some(turn))), Some(true)) => Answer::Newest(turn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::id::{OrgId, ThreadId};
    use uuid::Uuid;

    fn user(name: &str) -> UserId {
        UserId::of_subject("i", name)
    }

    #[test]
    fn each_person_learns_what_was_looked_up_for_them() {
        let entry = Entry::new((OrgId::of_name("o"), ThreadId::from_uuid(Uuid::from_u128(1))));
        let (ann, bob) = (user("ann"), user("bob"));
        entry.join(ann);
        assert_eq!(entry.answer(ann), Answer::Unknown);
        entry.note(Found::There(None), &[ann], &HashSet::from([ann]));
        entry.join(bob);
        assert_eq!((entry.answer(ann), entry.answer(bob)), (Answer::Empty, Answer::Unknown));
        let changes = entry.changes();
        entry.note(Found::There(None), &[ann, bob], &HashSet::from([ann]));
        assert_eq!((entry.answer(ann), entry.answer(bob)), (Answer::Empty, Answer::Gone), "bob is no member");
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        let changes = entry.changes();
        entry.note(Found::There(None), &[ann, bob], &HashSet::from([ann]));
        assert!(changes.has_changed().is_ok_and(|changed| !changed), "nothing is news");
        entry.note(Found::Gone, &[ann, bob], &HashSet::from([ann]));
        assert_eq!(entry.answer(ann), Answer::Gone);
    }

    #[test]
    fn it_is_over_when_the_last_viewer_has_left() {
        let entry = Entry::new((OrgId::of_name("o"), ThreadId::from_uuid(Uuid::from_u128(1))));
        let (ann, bob) = (user("ann"), user("bob"));
        [ann, ann, bob].into_iter().for_each(|user| entry.join(user));
        assert!(!entry.part(ann) && !entry.part(bob));
        assert_eq!(entry.people(), [ann]);
        assert!(!entry.left.is_cancelled());
        assert!(entry.part(ann));
        assert!(entry.left.is_cancelled());
    }
}
