//! A thread's stream: the streams of its turns' runs one after the other, and a wait between them. What a turn's stream says
//! is passed on as it is; only its end is not.
//!
//! *Invariant:* turns come in the order of their places in the conversation and none is passed over: the next one is whatever
//! Postgres has above the last. A turn gets its place when it starts, so a queued turn comes once it has started or ended. Who waits
//! is looked for by the hub, for all viewers of all threads together, and so is whether they may still see the thread.

use crate::caller::Person;
use crate::frames;
use crate::limits;
use crate::relay::Relay;
use crate::thread_hub::{Answer, Waiting};
use crate::truth::Seen;
use crate::viewer::{From, Viewer};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::limits::ATTACH_KEEPALIVE;
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Fault, Refusal, Result};
use runmesh_host::random;
use runmesh_wire::pb::{relay, stream as pb};
use runmesh_wire::status;
use std::collections::VecDeque;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use uuid::Uuid;

type Frame = relay::AttachThreadResponse;

/// See the module.
#[derive(Debug)]
pub struct ThreadViewer {
    relay: Relay,
    who: Person,
    thread: ThreadId,
    phase: Phase,
    /// The run of the turn that is followed, or was followed last; none before the first.
    turn: Option<RunId>,
    /// The place of that turn, 0 before the first; unknown while it is QUEUED.
    place: Option<u64>,
    /// Between turns: the last thing that the client was sent.
    at: Cursor,
    /// How the last turn ended.
    state: Option<StateName>,
    out: VecDeque<Frame>,
    last_frame: Instant,
    /// Between turns.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
enum Phase {
    /// A turn is followed.
    Turn(Box<Viewer>),
    /// The next turn is looked for, or waited for.
    Between,
    Over,
}

/// What follows the last turn.
enum Next {
    Turn(Box<Seen>),
    /// Nothing yet.
    Wait,
    /// The thread is gone, or is not this person's to see any more.
    Gone,
}

/// What the wait for a turn ended with.
enum News {
    Look,
    Quiet,
}

impl ThreadViewer {
    /// Of a thread, before its first turn.
    pub fn new(relay: Relay, who: Person, thread: ThreadId) -> Self {
        Self {
            relay,
            who,
            thread,
            phase: Phase::Between,
            turn: None,
            place: Some(0),
            at: before_the_first(thread),
            state: None,
            out: VecDeque::new(),
            last_frame: Instant::now(),
            waiting: None,
        }
    }

    /// The thread.
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The cursor that covers nothing of the thread.
    pub const fn before_the_first(&self) -> Cursor {
        before_the_first(self.thread)
    }

    /// Goes on with what follows a turn, of which `at` covers everything; with the first turn when it is none. Says so at once.
    pub fn wait_after(&mut self, turn: Option<Seen>, at: Cursor) {
        self.turn = turn.map(|turn| turn.key.run);
        self.place = turn.map_or(Some(0), |turn| turn.place);
        self.at = at;
        self.phase = Phase::Between;
        self.out.push_back(frames::thread::progress(at));
    }

    /// Goes on with a turn; with what follows it when the client has everything of it already.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when it is to begin live and the log is away: nobody knows where that is.
    pub async fn begin_turn(&mut self, seen: Seen, from: From) -> Result<()> {
        let (key, turn_number, place) = (seen.key, seen.turn_number, seen.place);
        if let From::Cursor(cursor) = from
            && cursor.is_at_end
            && seen.is_over()
        {
            self.state = Some(seen.waits.state);
            self.wait_after(Some(seen), cursor);
            return Ok(());
        }
        let mut viewer = Viewer::of(self.relay.clone(), seen, from, self.who.until).await;
        let (at, is_resumed) = match from {
            From::Snapshot | From::Start => (Cursor::start(key.thread, key.run), false),
            From::Cursor(cursor) => (cursor, true),
            From::Live => (viewer.go_live().await?, true),
        };
        if is_resumed && viewer.has_ended_at(at) {
            self.state = Some(viewer.state());
            self.wait_after(Some(seen), at.at_end());
            return Ok(());
        }
        (self.turn, self.place) = (Some(key.run), place);
        self.waiting = None;
        self.out.push_back(frames::thread::turn(key.run, turn_number, place, at));
        self.phase = Phase::Turn(Box::new(viewer));
        Ok(())
    }

    /// The next frame; none after the last. Not cancel safe: a stream that is dropped is over.
    pub async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                self.last_frame = Instant::now();
                return Some(Ok(frame));
            }
            let shown = match &mut self.phase {
                Phase::Over => return None,
                Phase::Turn(viewer) => {
                    let next = viewer.next().await;
                    self.shown(next)
                }
                Phase::Between => {
                    let ending = self.relay.ending(self.who.until);
                    tokio::select! {
                        biased;
                        why = ending => {
                            self.leave(why);
                            Ok(())
                        }
                        shown = self.between() => shown,
                    }
                }
            };
            if let Err(status) = shown {
                self.phase = Phase::Over;
                return Some(Err(status));
            }
        }
    }

    /// Passes on what a turn's stream says, unless it is that the turn is over.
    fn shown(&mut self, next: Option<Result<relay::AttachRunResponse, Status>>) -> Result<(), Status> {
        let frame = next.transpose()?.and_then(|response| response.frame);
        if let Some(relay::attach_run_response::Frame::End(end)) = &frame
            && end.reason() != pb::end::Reason::Finished
        {
            self.phase = Phase::Over;
        } else if matches!(frame, None | Some(relay::attach_run_response::Frame::End(_))) {
            if let Phase::Turn(viewer) = &self.phase {
                let is_over = viewer.state().is_terminal();
                self.at = if is_over { viewer.at().at_end() } else { viewer.at() };
                self.state = Some(viewer.state());
            }
            self.phase = Phase::Between;
            return Ok(());
        }
        self.out.extend(frame.map(frames::thread::of_run));
        Ok(())
    }

    /// Goes on with the next turn, and waits when there is none.
    async fn between(&mut self) -> Result<(), Status> {
        let mut is_away = false;
        match self.next_turn().await {
            Ok(Next::Turn(seen)) => {
                return self.begin_turn(*seen, From::Start).await.map_err(|error| status::of(&error));
            }
            Ok(Next::Wait) => {}
            Ok(Next::Gone) | Err(Error::Refused(Refusal::NotFound { .. })) => {
                self.leave(pb::end::Reason::Finished);
                return Ok(());
            }
            Err(Error::Fault(Fault::Unavailable { part, detail })) => {
                tracing::debug!(thread = %self.thread, part, detail, "the next turn cannot be read");
                is_away = true;
            }
            Err(error) => {
                tracing::error!(thread = %self.thread, %error, "a thread's stream failed");
                return Err(status::of(&error));
            }
        }
        match self.news(is_away).await {
            News::Look => {}
            News::Quiet => self.out.push_back(frames::thread::progress(self.at)),
        }
        Ok(())
    }

    /// What follows the last turn, as far as the hub knows. The turn itself is read only when it is not the one that the hub found.
    async fn next_turn(&mut self) -> Result<Next> {
        let Person { org, user, .. } = self.who;
        let newest = match self.waiting().answer() {
            Answer::Gone => return Ok(Next::Gone),
            Answer::Unknown | Answer::Empty => return Ok(Next::Wait),
            Answer::Newest(newest) => newest,
        };
        if self.turn == Some(newest.run) {
            self.place = Some(newest.place);
        }
        let next = match self.place {
            Some(place) if newest.place <= place => None,
            Some(place) if newest.place_before <= place => Some(Seen::of_newest(org, self.thread, newest)),
            Some(_) | None => self.relay.truth.next_turn(org, user, self.thread, self.turn).await?,
        };
        Ok(next.map_or(Next::Wait, |seen| Next::Turn(Box::new(seen))))
    }

    fn waiting(&mut self) -> &mut Waiting {
        let Person { org, user, .. } = self.who;
        self.waiting.get_or_insert_with(|| self.relay.threads.wait(org, self.thread, user))
    }

    /// Waits for a change, or a while when a part is away.
    async fn news(&mut self, is_away: bool) -> News {
        let quiet = self.last_frame + ATTACH_KEEPALIVE;
        let waiting = self.waiting();
        tokio::select! {
            biased;
            () = sleep_until(quiet) => News::Quiet,
            () = waiting.changed() => News::Look,
            () = sleep(random::jittered(limits::RETRY)), if is_away => News::Look,
        }
    }

    fn leave(&mut self, why: pb::end::Reason) {
        self.out.push_back(frames::thread::end(why, self.at, self.state));
        self.waiting = None;
        self.phase = Phase::Over;
    }
}

/// No run has the id that is all zeros: the place before the first turn.
const fn before_the_first(thread: ThreadId) -> Cursor {
    Cursor::start(thread, RunId::from_uuid(Uuid::nil()))
}
