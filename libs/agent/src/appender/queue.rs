//! Events in order of their numbers: acknowledged ones leave at the front, new ones come at the back. Pure.

use runmesh_domain::event::{Event, fit};
use runmesh_domain::path::StepKey;
use std::collections::VecDeque;

/// Unsent events beyond which adjacent deltas become one.
const MERGE_ABOVE: usize = 64;
/// Bytes that a merged delta grows to at most.
const MERGED_BYTES_MAX: usize = 16 << 10;
/// Bytes of one message to the relay, below its bound of 512 KiB.
const BATCH_BYTES_MAX: usize = 400 << 10;
/// Events of one message to the relay.
const BATCH_EVENTS_MAX: usize = 1_024;

/// The events of an attempt that are not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The number of the last event before the first one here.
    base: u64,
    events: VecDeque<Event>,
    bytes: usize,
    /// How many of the events were sent on any stream: these keep their numbers.
    fixed: usize,
    /// How many of the events were sent on the current stream.
    sent: usize,
}

impl Queue {
    /// The number of the last event that left.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// About how many bytes wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// True when the current stream has something to carry.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.events.len()
    }

    /// True when the current stream carried something that is not acknowledged.
    pub(super) const fn is_owed(&self) -> bool {
        self.sent > 0
    }

    /// True when the end of a step waits to be acknowledged.
    pub(super) fn finishes(&self, key: &StepKey) -> bool {
        self.events.iter().any(|event| matches!(event, Event::StepFinished { step, .. } if step == key))
    }

    /// Adds an event at the back, or to the delta there when many wait.
    pub(super) fn push(&mut self, event: Event) {
        let unsent = self.events.len() - self.fixed;
        self.bytes += fit::weight(&event);
        if unsent <= MERGE_ABOVE {
            self.events.push_back(event);
        } else if let Some(event) = self.merge(event) {
            self.events.push_back(event);
        }
    }

    /// Adds to the last event, which was never sent; gives back what cannot be added.
    fn merge(&mut self, event: Event) -> Option<Event> {
        let last = self.events.back_mut()?;
        let (onto, more) = match (last, &event) {
            (Event::TextDelta { step: a, text }, Event::TextDelta { step: b, text: more })
            | (Event::ReasoningDelta { step: a, text }, Event::ReasoningDelta { step: b, text: more })
                if a == b =>
            {
                (text, more)
            }
            (
                Event::ToolCallArgumentsDelta { step: a, call_index: i, arguments },
                Event::ToolCallArgumentsDelta { step: b, call_index: j, arguments: more },
            ) if a == b && i == j => (arguments, more),
            _ => return Some(event),
        };
        if onto.len() + more.len() > MERGED_BYTES_MAX {
            return Some(event);
        }
        self.bytes = self.bytes + more.len() - fit::weight(&event);
        onto.push_str(more);
        None
    }

    /// Puts events before all others. Only before anything was sent.
    pub(super) fn put_first(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.bytes += fit::weight(&event);
            self.events.push_front(event);
        }
    }

    /// Forgets the events up to `number`, which the log holds.
    pub(super) fn acked(&mut self, number: u64) {
        while self.base < number {
            self.base += 1;
            if let Some(event) = self.events.pop_front() {
                self.bytes = self.bytes.saturating_sub(fit::weight(&event));
                self.fixed = self.fixed.saturating_sub(1);
                self.sent = self.sent.saturating_sub(1);
            }
        }
    }

    /// A new stream: everything is to be sent again.
    pub(super) const fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Begins anew after `base` with nothing in it.
    pub(super) fn restart(&mut self, base: u64) {
        *self = Self { base, ..Self::default() };
    }

    /// Takes out the events that no stream ever carried.
    pub(super) fn take_unsent(&mut self) -> Vec<Event> {
        let taken: Vec<_> = self.events.split_off(self.fixed).into();
        self.bytes = self.events.iter().map(fit::weight).sum();
        taken
    }

    /// The next message to the relay: the number of its first event, and the events. Empty when all are sent.
    pub(super) fn next_batch(&mut self) -> (u64, Vec<Event>) {
        let first = self.base + self.sent as u64 + 1;
        let mut bytes = 0;
        let waiting = self.events.iter().skip(self.sent).take(BATCH_EVENTS_MAX);
        let batch: Vec<_> = waiting
            .take_while(|event| {
                let first = bytes == 0;
                bytes += fit::weight(event);
                first || bytes <= BATCH_BYTES_MAX
            })
            .cloned()
            .collect();
        self.sent += batch.len();
        self.fixed = self.fixed.max(self.sent);
        (first, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(text: &str) -> Event {
        Event::TextDelta { step: 1.into(), text: text.into() }
    }

    #[test]
    fn numbers_are_kept_until_acknowledged() {
        let mut queue = Queue::default();
        ["a", "b", "c"].into_iter().for_each(|text| queue.push(delta(text)));
        assert_eq!(queue.next_batch(), (1, vec![delta("a"), delta("b"), delta("c")]));
        assert!(!queue.has_unsent());
        queue.acked(2);
        queue.push(delta("d"));
        assert_eq!(queue.next_batch(), (4, vec![delta("d")]));
        queue.rewind();
        assert_eq!(queue.next_batch(), (3, vec![delta("c"), delta("d")]));
        queue.acked(4);
        assert!(queue.is_empty());
        assert_eq!((queue.bytes(), queue.base()), (0, 4));
    }

    #[test]
    fn only_unsent_deltas_behind_a_backlog_merge() {
        let mut queue = Queue::default();
        (0..=MERGE_ABOVE).for_each(|_| queue.push(delta("x")));
        queue.push(delta("y"));
        queue.push(Event::ReasoningDelta { step: 1.into(), text: "z".into() });
        let (_, batch) = queue.next_batch();
        assert_eq!(batch.len(), MERGE_ABOVE + 2);
        assert_eq!(batch[MERGE_ABOVE], delta("xy"));
        queue.push(Event::ReasoningDelta { step: 1.into(), text: "w".into() });
        assert_eq!(queue.next_batch().1.len(), 1);
        queue.acked(queue.base() + batch.len() as u64 + 1);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn batches_stay_below_the_bound() {
        let mut queue = Queue::default();
        (0..10).for_each(|_| queue.push(delta(&"x".repeat(64 << 10))));
        assert_eq!(queue.next_batch().1.len(), 6);
        assert_eq!(queue.next_batch(), (7, vec![delta(&"x".repeat(64 << 10)); 4]));
    }
}
