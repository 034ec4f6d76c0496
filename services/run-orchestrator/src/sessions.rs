//! The worker sessions whose Claim streams this replica serves, with their credits. Never says whether a session is alive:
//! that is the database's to say.

use runmesh_command::WorkSignal;
use runmesh_domain::id::SessionId;
use runmesh_wire::pb::worker::ClaimResponse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Answers that wait for a slow worker at most; credits end long before.
pub const ANSWERS_MAX: usize = 256;

/// One Claim stream.
#[derive(Debug)]
pub struct Stream {
    /// The session.
    pub session: SessionId,
    /// Which open of Claim this is.
    pub number: i64,
    /// The way to the worker.
    pub answers: mpsc::Sender<Result<ClaimResponse, tonic::Status>>,
    credits: Mutex<u32>,
    work: Arc<WorkSignal>,
}

impl Stream {
    /// A stream without credits. `work` learns of each that it gets.
    pub fn new(
        session: SessionId,
        number: i64,
        answers: mpsc::Sender<Result<ClaimResponse, tonic::Status>>,
        work: Arc<WorkSignal>,
    ) -> Self {
        Self { session, number, answers, credits: Mutex::new(0), work }
    }

    fn credits_mut(&self) -> std::sync::MutexGuard<'_, u32> {
        self.credits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds credits, up to `max`, and has the dispatcher look.
    pub fn add(&self, credits: u32, max: u32) {
        let mut held = self.credits_mut();
        *held = held.saturating_add(credits).min(max);
        drop(held);
        self.work.capacity_freed();
    }

    /// Takes at most `most` credits, and no more than the worker has left room to be told of: one that does not read its
    /// answers gets no more runs.
    pub fn take(&self, most: u32) -> u32 {
        let room = u32::try_from(self.answers.capacity()).unwrap_or(u32::MAX);
        let mut held = self.credits_mut();
        let taken = most.min(*held).min(room);
        *held -= taken;
        taken
    }

    /// Gives back credits that were not used. The dispatcher, which took them, does not need to be woken for them.
    pub fn give_back(&self, credits: u32) {
        *self.credits_mut() += credits;
    }
}

/// One credit of a stream, taken to claim a run with in a transaction that does something else first. Unless it is spent, it
/// goes back when it is dropped.
#[derive(Debug)]
pub struct ReservedSlot {
    stream: Arc<Stream>,
    is_spent: bool,
}

impl ReservedSlot {
    /// The session that has room.
    pub fn session(&self) -> SessionId {
        self.stream.session
    }

    /// A run was claimed with it. Gives the stream to send it on.
    pub fn spend(mut self) -> Arc<Stream> {
        self.is_spent = true;
        Arc::clone(&self.stream)
    }
}

impl Drop for ReservedSlot {
    fn drop(&mut self) {
        if !self.is_spent {
            self.stream.give_back(1);
            // A dispatcher that looked meanwhile found no room here.
            self.stream.work.capacity_freed();
        }
    }
}

/// All streams by session; a newer stream of a session takes the place of the older.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<SessionId, Arc<Stream>>>);

impl Sessions {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a stream from now on, unless a newer one of its session came first.
    pub fn insert(&self, stream: &Arc<Stream>) {
        let mut map = self.map();
        if map.get(&stream.session).is_none_or(|known| known.number < stream.number) {
            map.insert(stream.session, Arc::clone(stream));
        }
    }

    /// Serves this stream no more; leaves a newer one of the same session alone.
    pub fn remove(&self, stream: &Stream) {
        let mut map = self.map();
        if map.get(&stream.session).is_some_and(|known| known.number == stream.number) {
            map.remove(&stream.session);
        }
    }

    /// The stream of a session, when this replica serves it.
    pub fn get(&self, session: SessionId) -> Option<Arc<Stream>> {
        self.map().get(&session).cloned()
    }

    /// One credit of any stream that has one.
    pub fn reserve_slot(&self) -> Option<ReservedSlot> {
        let stream = self.map().values().find(|stream| stream.take(1) == 1).cloned()?;
        Some(ReservedSlot { stream, is_spent: false })
    }

    /// Every stream.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.map().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use uuid::Uuid;

    fn stream(number: i64) -> Arc<Stream> {
        let (answers, _) = mpsc::channel(ANSWERS_MAX);
        Arc::new(Stream::new(SessionId::from_uuid(Uuid::from_u128(1)), number, answers, Arc::default()))
    }

    #[test]
    fn an_older_stream_that_ends_leaves_the_newer_alone() {
        let sessions = Sessions::default();
        let (old, new) = (stream(1), stream(2));
        sessions.insert(&old);
        sessions.insert(&new);
        sessions.remove(&old);
        assert_eq!(sessions.get(new.session).map(|stream| stream.number), Some(2));
    }

    #[test]
    fn an_older_stream_that_comes_late_leaves_the_newer_alone() {
        let sessions = Sessions::default();
        let (old, new) = (stream(1), stream(2));
        sessions.insert(&new);
        sessions.insert(&old);
        assert_eq!(sessions.get(new.session).map(|stream| stream.number), Some(2));
    }

    #[test]
    fn a_slot_that_claims_nothing_gives_its_credit_back() {
        let (sessions, stream) = (Sessions::default(), stream(1));
        sessions.insert(&stream);
        assert!(sessions.reserve_slot().is_none());
        stream.add(1, 1);
        let slot = sessions.reserve_slot();
        assert!(stream.work.changed().now_or_never().is_some(), "for the credit");
        drop(slot);
        assert!(stream.work.changed().now_or_never().is_some(), "for the credit that came back");
        let slot = sessions.reserve_slot();
        let spent = slot.map(ReservedSlot::spend);
        assert!(spent.is_some());
        assert!(sessions.reserve_slot().is_none());
    }

    #[test]
    fn credits_are_bounded_and_given_back() {
        let stream = stream(1);
        stream.add(10, 4);
        assert_eq!(stream.take(3), 3);
        stream.give_back(1);
        assert_eq!(stream.take(9), 2);
    }
}
