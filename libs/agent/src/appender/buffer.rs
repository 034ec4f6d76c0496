//! Events that are to be sent and are not acknowledged, and what to do when the log does not hold what was expected. Pure.

use super::queue::Queue;
use super::replay::Replay;
use runmesh_domain::event::{Event, fit};
use runmesh_domain::journal::Step;
use runmesh_domain::log::Position;
use runmesh_domain::path::{CallKey, StepKey};
use std::collections::BTreeSet;

/// Bytes of events that may wait.
const BYTES_MAX: usize = 4 << 20;
/// Why a step of a lost attempt is taken back.
const ATTEMPT_LOST: &str = "attempt lost";
/// Why a step is taken back whose retraction was dropped.
const RETRACTED: &str = "retracted";

/// Why a step is taken back of which something was dropped while the log was away.
const SENT_AGAIN: &str = "sent again from its beginning";

/// The first answer on an append stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Started {
    /// How many events of the attempt the log holds.
    pub(super) number: u64,
    /// Where the log ends.
    pub(super) position: Position,
    /// Steps begun and not finished, and steps that earlier attempts journaled and the log does not hold.
    pub(super) open_steps: Vec<StepKey>,
    /// Calls of finished steps without a result.
    pub(super) open_calls: Vec<CallKey>,
}

/// The state of an attempt's events.
#[derive(Debug)]
pub(super) struct Buffer {
    queue: Queue,
    replay: Replay,
    /// The journal as the attempt found it, until the log's open steps and calls are settled from it.
    unsettled: Option<Replay>,
    position: Position,
    /// Steps of which something was dropped; set while the log takes nothing.
    skipped: Option<BTreeSet<StepKey>>,
    away: bool,
    over: bool,
}

impl Buffer {
    pub(super) fn new(position: Position, steps: &[Step]) -> Self {
        let replay = Replay::of_journal(steps);
        let unsettled = Some(replay.clone());
        Self { queue: Queue::default(), replay, unsettled, position, skipped: None, away: false, over: false }
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    /// How many events of the attempt the log is known to hold.
    pub(super) const fn held_number(&self) -> u64 {
        self.queue.base()
    }

    /// True when nothing waits, or nothing ever will be taken.
    pub(super) fn is_flushed(&self) -> bool {
        self.over || (self.unsettled.is_none() && self.queue.is_empty() && self.skipped.is_none())
    }

    /// True when an event may be added at once.
    pub(super) const fn has_room(&self) -> bool {
        self.over || self.skipped.is_some() || self.queue.bytes() < BYTES_MAX
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.unsettled.is_none() && self.queue.has_unsent()
    }

    /// True while the relay of the current stream owes an acknowledgement.
    pub(super) const fn is_owed(&self) -> bool {
        self.queue.is_owed()
    }

    /// True once nothing more is to be carried.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Nothing more is to be carried: the run is over, or the log refuses the attempt for good.
    pub(super) const fn close(&mut self) {
        self.over = true;
    }

    /// True when the log was waited for in vain and has given no sign since.
    pub(super) const fn is_away(&self) -> bool {
        self.away
    }

    pub(super) const fn set_away(&mut self) {
        self.away = true;
    }

    /// Adds an event; while the log takes nothing, only its effect is kept.
    pub(super) fn push(&mut self, event: Event) {
        if self.over {
            return;
        }
        self.replay.note(&event);
        match &mut self.skipped {
            None => self.queue.push(event),
            Some(steps) => steps.extend(changed(&event).cloned()),
        }
    }

    /// Drops what was never sent. What was sent keeps its numbers and stays.
    pub(super) fn skip(&mut self) {
        let dropped = self.queue.take_unsent();
        self.skipped.get_or_insert_default().extend(dropped.iter().filter_map(changed).cloned());
    }

    /// A stream is open.
    pub(super) fn started(&mut self, started: &Started) {
        self.away = false;
        if let Some(journal) = self.unsettled.take() {
            self.queue.acked(started.number);
            self.queue.put_first(settle(&journal, started));
        } else if started.number < self.queue.base() || self.is_missed(started) {
            self.send_anew(started.number);
        } else {
            self.queue.acked(started.number);
        }
        self.position = started.position;
        self.queue.rewind();
        self.catch_up();
    }

    /// True when the log does not hold a step that was sent to it and is not on its way: it was begun anew since.
    fn is_missed(&self, started: &Started) -> bool {
        let on_its_way =
            |step: &StepKey| self.queue.finishes(step) || self.skipped.as_ref().is_some_and(|skipped| skipped.contains(step));
        started.open_steps.iter().any(|step| self.replay.has_finished(step) && !on_its_way(step))
    }

    /// The log holds the attempt's events up to `number`.
    pub(super) fn acked(&mut self, number: u64, position: Position) {
        // A repeated acknowledgement is a sign of the relay, not of the log.
        self.away &= number <= self.queue.base();
        self.position = position;
        self.queue.acked(number);
        self.catch_up();
    }

    /// The log lost events, which are forgotten here: from `number` on the events of its state are sent instead.
    fn send_anew(&mut self, number: u64) {
        self.queue.restart(number);
        self.skipped = None;
        self.replay.all_events().into_iter().flat_map(fit::pieces).for_each(|event| self.queue.push(event));
    }

    /// Once the log has taken everything sent, the steps of which something was dropped are sent from their beginning.
    fn catch_up(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        for step in self.skipped.take().into_iter().flatten() {
            // The log may hold its beginning: a step begins again only when it was retracted.
            let retracted =
                self.replay.is_open(&step).then(|| Event::StepRetracted { step: step.clone(), reason: SENT_AGAIN.into() });
            let events = retracted.into_iter().chain(self.replay.events_of(&step, RETRACTED));
            events.flat_map(fit::pieces).for_each(|event| self.queue.push(event));
        }
    }

    pub(super) fn next_batch(&mut self) -> (u64, Vec<Event>) {
        self.queue.next_batch()
    }
}

/// The step whose state an event changes. A retry only says what is being done.
const fn changed(event: &Event) -> Option<&StepKey> {
    match event {
        Event::ModelRetrying { .. } => None,
        other => other.step(),
    }
}

/// What closes the steps and calls that earlier attempts left open in the log.
fn settle(journal: &Replay, started: &Started) -> Vec<Event> {
    let steps = started.open_steps.iter().flat_map(|step| journal.events_of(step, ATTEMPT_LOST));
    let is_sent = |step: &StepKey| started.open_steps.contains(step) && journal.has_finished(step);
    let calls = started.open_calls.iter().filter(|call| !is_sent(&call.step)).filter_map(|call| journal.call_end(call));
    steps.chain(calls).flat_map(fit::pieces).collect()
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
