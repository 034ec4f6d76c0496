//! A thread's stream: the streams of its turns' runs one after the other, and a wait between them. What a turn's stream says
//! is passed on as it is; only its end is not.
//!
//! *Invariant:* turns come in the order of their places in the conversation and none is passed over: the next one is whatever
//! Postgres has above the last. A turn gets its place when it starts, so a queued turn comes once it has started or ended. Signs
//! on the bus only make that be looked at sooner.

use crate::caller::Person;
use crate::frames;
use crate::limits;
use crate::relay::Relay;
use crate::truth::Seen;
use crate::viewer::{From, Viewer};
use runmesh_bus::Activity;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::limits::ATTACH_KEEPALIVE;
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Fault, Refusal, Result};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::status;
use std::collections::VecDeque;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use uuid::Uuid;

type Frame = pb::AttachThreadResponse;

/// See the module.
#[derive(Debug)]
pub struct ThreadViewer {
    relay: Relay,
    who: Person,
    thread: ThreadId,
    phase: Phase,
    /// The run of the turn that is followed, or was followed last; none before the first.
    turn: Option<RunId>,
    /// Between turns: the last thing that the client was sent.
    at: Cursor,
    /// How the last turn ended.
    state: Option<StateName>,
    out: VecDeque<Frame>,
    last_frame: Instant,
    /// While no turn is there.
    activity: Option<Activity>,
}

#[derive(Debug)]
enum Phase {
    /// A turn is followed.
    Turn(Box<Viewer>),
    /// The next turn is looked for, or waited for.
    Between,
    Over,
}

/// What the wait for a turn ended with.
enum News {
    Look,
    Quiet,
    Leave(pb::end::Reason),
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
            at: before_the_first(thread),
            state: None,
            out: VecDeque::new(),
            last_frame: Instant::now(),
            activity: None,
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

    /// Goes on with what follows the turn of run `turn`, of which `at` covers everything. Says so at once.
    pub fn wait_after(&mut self, turn: Option<RunId>, at: Cursor) {
        (self.turn, self.at) = (turn, at);
        self.phase = Phase::Between;
        self.out.push_back(frames::thread::progress(at));
    }

    /// Goes on with a turn; with what follows it when the client has everything of it already.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when it is to begin live and the log is away: nobody knows where that is.
    pub async fn begin_turn(&mut self, seen: Seen, from: From) -> Result<()> {
        let (key, turn_number, place) = (seen.key, seen.turn_number, seen.place);
        let mut viewer = Viewer::of(self.relay.clone(), seen, from, self.who.until).await;
        let (at, is_resumed) = match from {
            From::Snapshot | From::Start => (Cursor::start(key.thread, key.run), false),
            From::Cursor(cursor) => (cursor, true),
            From::Live => (viewer.go_live().await?, true),
        };
        if is_resumed && viewer.has_ended_at(at) {
            self.state = Some(viewer.state());
            self.wait_after(Some(key.run), at);
            return Ok(());
        }
        self.turn = Some(key.run);
        self.activity = None;
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
                Phase::Between => self.between().await,
            };
            if let Err(status) = shown {
                self.phase = Phase::Over;
                return Some(Err(status));
            }
        }
    }

    /// Passes on what a turn's stream says, unless it is that the turn is over.
    fn shown(&mut self, next: Option<Result<pb::AttachRunResponse, Status>>) -> Result<(), Status> {
        let frame = next.transpose()?.and_then(|response| response.frame);
        if let Some(pb::attach_run_response::Frame::End(end)) = &frame
            && end.reason() != pb::end::Reason::Finished
        {
            self.phase = Phase::Over;
        } else if matches!(frame, None | Some(pb::attach_run_response::Frame::End(_))) {
            if let Phase::Turn(viewer) = &self.phase {
                (self.at, self.state) = (viewer.at(), Some(viewer.state()));
            }
            self.phase = Phase::Between;
            return Ok(());
        }
        self.out.extend(frame.map(frames::thread::of_run));
        Ok(())
    }

    /// Looks for the next turn, and waits a while when there is none.
    async fn between(&mut self) -> Result<(), Status> {
        match self.next_turn().await {
            Ok(Some(seen)) => {
                return self.begin_turn(seen, From::Start).await.map_err(|error| status::of(&error));
            }
            Ok(None) => {}
            Err(Error::Refused(Refusal::NotFound { .. })) => {
                self.leave(pb::end::Reason::Finished);
                return Ok(());
            }
            Err(Error::Fault(Fault::Unavailable { part, detail })) => {
                tracing::debug!(thread = %self.thread, part, detail, "the next turn cannot be looked for");
            }
            Err(error) => {
                tracing::error!(thread = %self.thread, %error, "a thread's stream failed");
                return Err(status::of(&error));
            }
        }
        if self.activity.is_none() && self.listen().await {
            // A turn may have begun before it would have been heard of.
            return Ok(());
        }
        match self.news().await {
            News::Look => {}
            News::Quiet => self.out.push_back(frames::thread::progress(self.at)),
            News::Leave(why) => self.leave(why),
        }
        Ok(())
    }

    async fn next_turn(&self) -> Result<Option<Seen>> {
        let Person { org, user, .. } = self.who;
        match self.relay.truth.next_turn(org, user, self.thread, self.turn).await? {
            Some(turn) => self.relay.truth.attach(org, user, turn.run).await.map(Some),
            None => Ok(None),
        }
    }

    /// True when signs of the thread are heard from now on; without them it is only looked at now and then.
    async fn listen(&mut self) -> bool {
        match self.relay.bus.thread_activity(self.who.org, self.thread).await {
            Ok(activity) => self.activity = Some(activity),
            Err(error) => tracing::debug!(thread = %self.thread, %error, "a thread cannot be listened to"),
        }
        self.activity.is_some()
    }

    async fn news(&mut self) -> News {
        let activity = &mut self.activity;
        let sign = async {
            if let Some(heard) = activity
                && heard.next().await.is_some()
            {
                return;
            }
            // The connection is closed for good, or away: what is left is to look.
            *activity = None;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = sleep_until(self.who.until) => News::Leave(pb::end::Reason::TokenExpired),
            () = self.relay.life.soft().cancelled() => News::Leave(pb::end::Reason::Draining),
            () = sleep_until(self.last_frame + ATTACH_KEEPALIVE) => News::Quiet,
            () = sign => News::Look,
            () = sleep(limits::THREAD_LOOK) => News::Look,
        }
    }

    fn leave(&mut self, why: pb::end::Reason) {
        self.out.push_back(frames::thread::end(why, self.at, self.state));
        self.phase = Phase::Over;
    }
}

/// No run has the id that is all zeros: the place before the first turn.
const fn before_the_first(thread: ThreadId) -> Cursor {
    Cursor::start(thread, RunId::from_uuid(Uuid::nil()))
}
