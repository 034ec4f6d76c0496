//! The worker sessions whose Claim streams this replica serves, with their credits. Never says whether a session is alive:
//! that is the database's to say.

use runmesh_command::WorkSignal;
use runmesh_domain::id::SessionId;
use runmesh_store::runs::SessionRoom;
use runmesh_wire::pb::worker::ClaimResponse;
use std::collections::BTreeMap;
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
    /// Runs that the session may drive at once.
    pub capacity: u32,
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
        capacity: u32,
        answers: mpsc::Sender<Result<ClaimResponse, tonic::Status>>,
        work: Arc<WorkSignal>,
    ) -> Self {
        Self { session, number, capacity, answers, credits: Mutex::new(0), work }
    }

    fn credits_mut(&self) -> std::sync::MutexGuard<'_, u32> {
        self.credits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds credits, up to the capacity, and has the dispatcher look.
    pub fn add(&self, credits: u32) {
        let mut held = self.credits_mut();
        *held = held.saturating_add(credits).min(self.capacity);
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

    /// Runs that the session drives, when it can take one more; by its credits, so at any moment about right.
    fn in_hand(&self) -> Option<u32> {
        let credits = *self.credits_mut();
        (credits > 0).then(|| self.capacity.saturating_sub(credits))
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

/// Credits of a stream, taken to claim runs with. What is not spent goes back when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    stream: Arc<Stream>,
    credits: u32,
}

impl Reserved {
    /// The session that has room.
    pub fn session(&self) -> SessionId {
        self.stream.session
    }

    /// How much room it has.
    pub fn room(&self) -> SessionRoom {
        SessionRoom { session: self.stream.session, credits: self.credits }
    }

    /// A run was claimed with one of the credits. Gives the stream to send it on.
    pub fn spend(&mut self) -> Arc<Stream> {
        self.credits = self.credits.saturating_sub(1);
        Arc::clone(&self.stream)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.stream.give_back(self.credits);
    }
}

/// All streams by session; a newer stream of a session takes the place of the older.
#[derive(Debug, Default)]
pub struct Sessions {
    streams: Mutex<BTreeMap<SessionId, Arc<Stream>>>,
    /// Who came first in the last look; the next one begins behind it.
    first: Mutex<Option<SessionId>>,
}

impl Sessions {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream, from behind the one that came first in the last look: of those that are equal, each is the first once.
    fn in_turn(&self) -> Vec<Arc<Stream>> {
        let mut all: Vec<_> = self.map().values().cloned().collect();
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = all.partition_point(|stream| first.is_some_and(|first| stream.session <= first));
        all.rotate_left(behind);
        all
    }

    fn note_first(&self, stream: &Stream) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.session);
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

    /// One credit, of the stream that has one and drives the fewest runs.
    pub fn reserve_slot(&self) -> Option<ReservedSlot> {
        let mut with_room: Vec<_> = self.in_turn().into_iter().filter_map(|stream| Some((stream.in_hand()?, stream))).collect();
        with_room.sort_by_key(|(in_hand, _)| *in_hand);
        let stream = with_room.into_iter().map(|(_, stream)| stream).find(|stream| stream.take(1) == 1)?;
        self.note_first(&stream);
        Some(ReservedSlot { stream, is_spent: false })
    }

    /// Credits of every stream that has some, at most so many of each.
    pub fn reserve_all(&self, most: u32) -> Vec<Reserved> {
        let all = self.in_turn().into_iter().map(|stream| Reserved { credits: stream.take(most), stream });
        let all: Vec<_> = all.filter(|reserved| reserved.credits > 0).collect();
        if let Some(first) = all.first() {
            self.note_first(&first.stream);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use uuid::Uuid;

    fn stream(number: i64) -> Arc<Stream> {
        stream_of(1, number, 4)
    }

    fn stream_of(session: u128, number: i64, capacity: u32) -> Arc<Stream> {
        let (answers, _) = mpsc::channel(ANSWERS_MAX);
        Arc::new(Stream::new(SessionId::from_uuid(Uuid::from_u128(session)), number, capacity, answers, Arc::default()))
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
        stream.add(1);
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
        stream.add(10);
        assert_eq!(stream.take(3), 3);
        stream.give_back(1);
        assert_eq!(stream.take(9), 2);
    }

    #[test]
    fn slots_go_to_the_session_with_the_fewest_runs_and_to_equal_ones_in_turn() {
        let sessions = Sessions::default();
        let all = [stream_of(1, 1, 4), stream_of(2, 1, 4), stream_of(3, 1, 9)];
        for (stream, credits) in all.iter().zip([4, 4, 4]) {
            sessions.insert(stream);
            stream.add(credits);
        }
        let mut given: Vec<_> = (0..8).map(|_| sessions.reserve_slot().map(|slot| slot.spend().session)).collect();
        assert!(!given.contains(&Some(all[2].session)), "it drives five");
        given.sort_unstable();
        assert_eq!(given, [vec![Some(all[0].session); 4], vec![Some(all[1].session); 4]].concat());
        for pair in [0, 1] {
            all[pair].add(4);
        }
        let pairs: Vec<_> = (0..2).map(|_| sessions.reserve_slot().map(|slot| slot.session())).collect();
        assert_ne!(pairs[0], pairs[1], "a slot that came back goes to the next");
    }

    #[test]
    fn what_is_reserved_and_not_spent_comes_back() {
        let sessions = Sessions::default();
        let (one, two) = (stream_of(1, 1, 4), stream_of(2, 1, 4));
        sessions.insert(&one);
        sessions.insert(&two);
        two.add(3);
        let mut reserved = sessions.reserve_all(2);
        assert_eq!(reserved.iter().map(Reserved::room).collect::<Vec<_>>(), [SessionRoom { session: two.session, credits: 2 }]);
        assert!(one.work.changed().now_or_never().is_none());
        assert_eq!(reserved[0].spend().session, two.session);
        drop(reserved);
        assert_eq!(two.take(9), 2);
    }
}
