//! Counts losses of a connection and the connections that were made, so that none is missed.
//!
//! The client's events are not enough: they go through a channel that drops them when it is full. A loss is counted by what
//! the client does before it connects again, on its own task. A connection is counted by the client's own counter, which every
//! event reads: a dropped event means that a full channel of others is yet to be handled, each later than that connection.

use async_nats::{Event, Statistics};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// The counts of one connection.
#[derive(Debug, Default)]
pub struct Counts {
    lost: watch::Sender<u64>,
    made: watch::Sender<u64>,
    statistics: OnceLock<Arc<Statistics>>,
    /// The connections that `made` counts.
    connects: AtomicU64,
}

impl Counts {
    /// Counts the connections that these statistics count. The first one is no news.
    pub fn read_from(&self, statistics: Arc<Statistics>) {
        self.connects.store(1, Ordering::SeqCst);
        // Nobody sets it twice.
        drop(self.statistics.set(statistics));
        self.note_made();
    }

    /// The connection is not there, or not any more, and is about to be made.
    pub fn lose(&self) {
        self.lost.send_modify(|count| *count += 1);
    }

    /// Something happened to the connection.
    pub fn event(&self, event: &Event) {
        if let Event::ServerError(error) = event {
            tracing::warn!(%error, "nats-server refuses something of this connection");
        }
        self.note_made();
    }

    /// Another server leads: what was read of the one before may not be there, and what it sent on may not have come.
    pub fn elect(&self) {
        self.lose();
        self.made.send_modify(|count| *count += 1);
    }

    fn note_made(&self) {
        let Some(statistics) = self.statistics.get() else { return };
        let connects = statistics.connects.load(Ordering::SeqCst);
        if self.connects.swap(connects, Ordering::SeqCst) != connects {
            self.made.send_modify(|count| *count += 1);
        }
    }

    /// Changes with every loss and election.
    pub fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// Changes with every connection and election.
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_counted_by_any_event_when_its_own_was_dropped() {
        let (counts, statistics) = (Counts::default(), Arc::new(Statistics::default()));
        statistics.connects.store(1, Ordering::SeqCst);
        counts.read_from(Arc::clone(&statistics));
        let mut made = counts.made();
        counts.event(&Event::SlowConsumer(1));
        assert!(!made.has_changed().unwrap_or(true), "nothing was made");
        statistics.connects.store(2, Ordering::SeqCst);
        counts.event(&Event::SlowConsumer(1));
        assert!(made.has_changed().unwrap_or(false));
        made.mark_unchanged();
        counts.event(&Event::Connected);
        assert!(!made.has_changed().unwrap_or(true), "it was counted");
    }

    #[test]
    fn an_election_is_a_loss_and_a_chance_to_have_missed_something() {
        let counts = Counts::default();
        let (lost, made) = (counts.lost(), counts.made());
        counts.elect();
        assert!(lost.has_changed().unwrap_or(false) && made.has_changed().unwrap_or(false));
    }
}
