//! What a follower of a thread holds: the turn under way, and where to come back to. Pure: no stream, no clock.

use crate::error::ClientError;
use crate::follow::tracker::{self, Tracker};
use crate::follow::update::{EndReason, Start, ThreadStart, ThreadUpdate, Update};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::{id, unsigned};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_response::Frame as OfRun;
use runmesh_wire::pb::stream::attach_thread_response::Frame;

/// What a frame came to.
#[derive(Debug)]
pub(super) enum Taken {
    /// Something to tell.
    Told(ThreadUpdate),
    /// The relay goes down: come back elsewhere.
    Draining,
    /// Nothing to tell.
    Nothing,
    /// See [`tracker::Taken::Mismatch`].
    Mismatch,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    start: ThreadStart,
    /// The turn told last.
    turn: Option<Turn>,
    /// Of that turn; of nothing before the first.
    tracker: Tracker,
    cursor: Option<String>,
}

#[derive(Debug)]
struct Turn {
    run: RunId,
    number: u64,
    /// The highest place in the conversation that a turn had so far.
    place: u64,
    /// A cursor before its first event.
    start: Option<String>,
}

impl Turns {
    pub(super) fn new(start: ThreadStart) -> Self {
        let cursor = if let ThreadStart::Cursor(cursor) = &start { Some(cursor.clone()) } else { None };
        Self { start, turn: None, tracker: Tracker::new(Start::Live), cursor }
    }

    pub(super) fn run(&self) -> Option<RunId> {
        self.turn.as_ref().map(|turn| turn.run)
    }

    pub(super) const fn view(&self) -> &RunView {
        self.tracker.view()
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.tracker.is_whole()
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Where the next attachment begins.
    pub(super) fn attach_from(&self) -> ThreadStart {
        self.cursor.clone().map_or_else(|| self.start.clone(), ThreadStart::Cursor)
    }

    /// Takes the next frame.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Taken, ClientError> {
        let frame = match frame {
            Frame::Turn(turn) => return self.take_turn(turn),
            Frame::End(end) => return take_end(&end),
            Frame::Progress(progress) if !progress.cursor.is_empty() => {
                // Between turns: everything up to here is told.
                self.check_over()?;
                self.cursor = Some(progress.cursor);
                return Ok(Taken::Told(ThreadUpdate::Of(Update::Progress)));
            }
            Frame::Snapshot(snapshot) => OfRun::Snapshot(snapshot),
            Frame::Events(events) => OfRun::Events(events),
            Frame::Status(status) => OfRun::Status(status),
            Frame::Progress(progress) => OfRun::Progress(progress),
            Frame::Reset(reset) => OfRun::Reset(reset),
        };
        let Some(turn) = &self.turn else {
            return Err(ClientError::protocol("a frame of a turn before any turn"));
        };
        let taken = self.tracker.take(frame)?;
        match (self.tracker.cursor(), &taken) {
            (Some(cursor), _) => self.cursor = Some(cursor.to_owned()),
            // What was told of the turn is void: it is told anew from its beginning.
            (None, tracker::Taken::Told(Update::Reset(_))) => self.cursor.clone_from(&turn.start),
            (None, _) => {}
        }
        Ok(match taken {
            tracker::Taken::Told(update) => Taken::Told(ThreadUpdate::Of(update)),
            tracker::Taken::Draining => Taken::Draining,
            tracker::Taken::Nothing => Taken::Nothing,
            tracker::Taken::Mismatch => Taken::Mismatch,
        })
    }

    /// A turn begins, or goes on where the last attachment left it.
    fn take_turn(&mut self, turn: pb::Turn) -> Result<Taken, ClientError> {
        let pb::Turn { run_id, turn_number, cursor, place } = turn;
        let run: RunId = id("turn.run_id", &run_id)?;
        let number: u64 = unsigned("turn.turn_number", turn_number)?;
        let place: u64 = unsigned("turn.place", place)?;
        let is_same = self.run() == Some(run);
        if is_same && self.tracker.cursor() == Some(cursor.as_str()) {
            self.tracker.take_up();
            return Ok(Taken::Nothing);
        }
        if let Some(last) = &self.turn
            && !is_same
        {
            self.check_over()?;
            // A place of 0 is one that the relay did not know yet.
            if place != 0 && place <= last.place {
                let problem = format!("turn {number} at place {place} follows turn {} at place {}", last.number, last.place);
                return Err(ClientError::protocol(problem));
            }
        }
        let place = place.max(self.turn.as_ref().map_or(0, |last| last.place));
        let at: Option<Cursor> = cursor.parse().ok();
        let start = at.map(|at| Cursor::start(at.thread, at.run).to_string());
        if !cursor.is_empty() {
            self.cursor = Some(cursor.clone());
        }
        self.tracker = Tracker::of_turn(cursor);
        self.turn = Some(Turn { run, number, place, start });
        Ok(if is_same { Taken::Nothing } else { Taken::Told(ThreadUpdate::Turn { run, turn_number: number }) })
    }

    /// The turn told last must have been told to its end. One that was joined live may have ended in that moment.
    fn check_over(&self) -> Result<(), ClientError> {
        let Some(turn) = &self.turn else { return Ok(()) };
        let is_untold = turn.start.is_none() && self.tracker.cursor().is_none();
        if self.tracker.view().finished.is_some() || is_untold {
            return Ok(());
        }
        Err(ClientError::protocol(format!("turn {} was left after event {}", turn.number, self.tracker.view().seq)))
    }
}

fn take_end(end: &pb::End) -> Result<Taken, ClientError> {
    let state = end.state().from_wire("end.state").ok();
    let reason = match end.reason() {
        pb::end::Reason::Draining => return Ok(Taken::Draining),
        pb::end::Reason::TokenExpired => EndReason::TokenExpired,
        pb::end::Reason::Finished => EndReason::Finished,
        pb::end::Reason::Unspecified => return Err(ClientError::protocol("an end without a reason")),
    };
    Ok(Taken::Told(ThreadUpdate::Of(Update::End { reason, state })))
}

#[cfg(test)]
mod tests;
