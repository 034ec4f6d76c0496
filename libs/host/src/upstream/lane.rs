//! One connection to a backend, and the place of a call on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::transport::Channel;

use super::backend::Backend;

pub(super) struct Lane {
    channel: Channel,
    calls: AtomicUsize,
}

impl Lane {
    /// A connection with one call on it.
    pub(super) fn entered(channel: Channel) -> Self {
        Self { channel, calls: AtomicUsize::new(1) }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Takes a place unless there are `limit` calls already.
    pub(super) fn try_enter(&self, limit: usize) -> bool {
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| (calls < limit).then(|| calls + 1)).is_ok()
    }
}

/// A call's place on a connection, given back when dropped: at the end of the answer's body.
pub(super) struct Ticket {
    pub(super) backend: Arc<Backend>,
    lane: Arc<Lane>,
}

impl Ticket {
    pub(super) fn new(backend: Arc<Backend>, lane: Arc<Lane>) -> Self {
        Self { backend, lane }
    }

    pub(super) fn channel(&self) -> Channel {
        self.lane.channel.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.calls.fetch_sub(1, Ordering::Relaxed);
        self.backend.left();
    }
}
