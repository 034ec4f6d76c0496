//! What a follower holds, and the rules by which the next frame fits it. Pure: no stream, no clock.

use super::update::{EndReason, ResetReason, Start, Update};
use crate::bounds;
use crate::error::ClientError;
use runmesh_domain::chain::Chain;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::fold::RunView;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::{list, snapshot, unsigned};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_response::Frame;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A snapshot, before any event.
    Snapshot,
    /// Events from wherever they are; a snapshot is fine too.
    Anything,
    /// A snapshot, or the first event of the log.
    Beginning,
    /// The event after the view's seq, joining its chain.
    Next,
}

/// What a frame came to.
#[derive(Debug)]
pub(super) enum Taken {
    /// Something to tell.
    Told(Update),
    /// The relay goes down: come back elsewhere.
    Draining,
    /// Nothing to tell yet.
    Nothing,
    /// The events join another history than the one held: attach again with the cursor.
    Mismatch,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tracker {
    start: Start,
    expect: Expect,
    view: RunView,
    whole: bool,
    cursor: Option<String>,
    building: Option<RunView>,
    mismatches: u32,
    mismatches_in_a_row: u32,
}

impl Tracker {
    pub(super) fn new(start: Start) -> Self {
        let mut view = RunView::default();
        let (expect, whole) = match &start {
            Start::Snapshot => (Expect::Snapshot, true),
            Start::Beginning => (Expect::Next, true),
            Start::Live => (Expect::Anything, false),
            // A cursor that this version cannot read is the mesh's to judge.
            Start::Cursor(text) => text.parse::<Cursor>().map_or((Expect::Anything, false), |cursor| {
                (view.seq, view.chain) = (cursor.seq, cursor.chain);
                (Expect::Next, cursor.seq == 0)
            }),
        };
        let cursor = match &start {
            Start::Cursor(text) => Some(text.clone()),
            Start::Snapshot | Start::Beginning | Start::Live => None,
        };
        Self { start, expect, view, whole, cursor, building: None, mismatches: 0, mismatches_in_a_row: 0 }
    }

    /// Of a turn whose frames begin at `cursor`; live when there is none. At the beginning of a run the relay chooses between
    /// a snapshot and the first event.
    pub(super) fn of_turn(cursor: String) -> Self {
        if cursor.is_empty() {
            return Self::new(Start::Live);
        }
        let tracker = Self::new(Start::Cursor(cursor));
        let expect = if tracker.whole { Expect::Beginning } else { tracker.expect };
        Self { expect, ..tracker }
    }

    /// Takes up again at what was told last: forgets a snapshot that was not whole yet.
    pub(super) fn take_up(&mut self) {
        self.building = None;
    }

    pub(super) const fn view(&self) -> &RunView {
        &self.view
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    pub(super) const fn mismatches(&self) -> u32 {
        self.mismatches
    }

    /// Where the next attachment begins. Forgets a snapshot that was not whole yet.
    pub(super) fn attach_from(&mut self) -> Start {
        self.building = None;
        self.cursor.clone().map_or_else(|| self.start.clone(), Start::Cursor)
    }

    /// Takes the next frame.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Taken, ClientError> {
        match frame {
            Frame::Snapshot(part) => self.take_snapshot(part),
            Frame::Events(events) => self.take_events(events),
            Frame::Status(status) => Ok(Taken::Told(Update::Status(status))),
            Frame::Progress(progress) => self.take_progress(progress),
            Frame::Reset(reset) => Ok(Taken::Told(self.take_reset(&reset))),
            Frame::End(end) => self.take_end(&end),
        }
    }

    fn take_snapshot(&mut self, part: pb::Snapshot) -> Result<Taken, ClientError> {
        if self.expect == Expect::Next {
            return Err(ClientError::protocol(format!("a snapshot that nobody asked for after event {}", self.view.seq)));
        }
        let first = self.building.is_none();
        let mut view = self.building.take().unwrap_or_default();
        let (seq, chain) = (view.seq, view.chain);
        let (complete, cursor) = (part.complete, part.cursor.clone());
        snapshot::add(&mut view, part)?;
        if !first && (view.seq, view.chain) != (seq, chain) {
            return Err(ClientError::protocol(format!("parts of one snapshot at event {seq} and event {}", view.seq)));
        }
        if !complete {
            self.building = Some(view);
            return Ok(Taken::Nothing);
        }
        self.expect = Expect::Next;
        self.whole = true;
        self.joined(cursor);
        self.view = view.clone();
        Ok(Taken::Told(Update::Snapshot(Box::new(view))))
    }

    fn take_events(&mut self, frame: pb::Events) -> Result<Taken, ClientError> {
        let pb::Events { first_seq, chain_before, chain_after, events, cursor } = frame;
        let first_seq: u64 = unsigned("events.first_seq", first_seq)?;
        let held = self.view.seq;
        match self.expect {
            Expect::Snapshot => return Err(ClientError::protocol(format!("event {first_seq} before the snapshot"))),
            Expect::Beginning | Expect::Next if first_seq != held.saturating_add(1) => {
                let what = if first_seq <= held { "repeated" } else { "missing" };
                return Err(ClientError::protocol(format!("{what} events: {first_seq} came after {held}")));
            }
            Expect::Beginning | Expect::Next if Chain(chain_before) != self.view.chain => return self.mismatch(first_seq),
            Expect::Beginning | Expect::Next | Expect::Anything => {}
        }
        if events.is_empty() || first_seq == 0 {
            return Err(ClientError::protocol(format!("{} events from {first_seq} on", events.len())));
        }
        if self.view.finished.is_some() {
            return Err(ClientError::protocol(format!("event {first_seq} after the end of the run")));
        }
        let events = (first_seq..).zip(list::<_, runmesh_domain::event::Event>("events", events)?).collect::<Vec<_>>();
        for (seq, event) in &events {
            self.view.take(*seq, Chain(chain_after), event);
        }
        self.expect = Expect::Next;
        self.joined(cursor.clone());
        Ok(Taken::Told(Update::Events { events, cursor }))
    }

    fn mismatch(&mut self, first_seq: u64) -> Result<Taken, ClientError> {
        self.mismatches = self.mismatches.saturating_add(1);
        self.mismatches_in_a_row = self.mismatches_in_a_row.saturating_add(1);
        if self.mismatches_in_a_row > bounds::MISMATCHES_MAX {
            return Err(ClientError::protocol(format!(
                "event {first_seq} joins another log than the one followed, again and again"
            )));
        }
        Ok(Taken::Mismatch)
    }

    fn joined(&mut self, cursor: String) {
        self.mismatches_in_a_row = 0;
        if !cursor.is_empty() {
            self.cursor = Some(cursor);
        }
    }

    /// Where a live follower stands comes before its first event: coming back, it goes on from there.
    fn take_progress(&mut self, progress: pb::Progress) -> Result<Taken, ClientError> {
        let pb::Progress { seq, cursor } = progress;
        let seq: u64 = unsigned("progress.seq", seq)?;
        if self.expect == Expect::Anything
            && self.cursor.is_none()
            && let Ok(at) = cursor.parse::<Cursor>()
        {
            (self.view.seq, self.view.chain) = (at.seq, at.chain);
            (self.expect, self.whole) = (Expect::Next, at.seq == 0);
            self.cursor = Some(cursor);
        }
        if self.expect == Expect::Next && seq > self.view.seq {
            return Err(ClientError::protocol(format!("missing events: {seq} was sent and {} came", self.view.seq)));
        }
        Ok(Taken::Told(Update::Progress))
    }

    /// Everything held is void, the cursor too: should the stream break before the snapshot, a snapshot is asked for.
    fn take_reset(&mut self, reset: &pb::Reset) -> Update {
        self.start = Start::Snapshot;
        self.expect = Expect::Snapshot;
        self.view = RunView::default();
        self.whole = true;
        self.cursor = None;
        self.building = None;
        Update::Reset(ResetReason::try_from(reset.reason).unwrap_or(ResetReason::Unspecified))
    }

    fn take_end(&self, end: &pb::End) -> Result<Taken, ClientError> {
        let state = end.state().from_wire("end.state").ok();
        let reason = match end.reason() {
            pb::end::Reason::Draining => return Ok(Taken::Draining),
            pb::end::Reason::TokenExpired => EndReason::TokenExpired,
            pb::end::Reason::Finished => EndReason::Finished,
            pb::end::Reason::Unspecified => return Err(ClientError::protocol("an end without a reason")),
        };
        let untold = self.expect != Expect::Next || self.view.finished.is_none();
        if reason == EndReason::Finished && self.whole && untold {
            return Err(ClientError::protocol(format!("the end after event {}, which does not end the run", self.view.seq)));
        }
        Ok(Taken::Told(Update::End { reason, state }))
    }
}

#[cfg(test)]
mod tests;
