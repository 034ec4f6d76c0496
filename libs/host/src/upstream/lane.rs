//! One connection to a backend, and the place of a call on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::backend::Backend;

pub(super) struct Lane {
    channel: Channel,
    calls: AtomicUsize,
    /// Set when the backend stopped answering: what waits for it on this connection must not wait on.
    given_up: CancellationToken,
}

impl Lane {
    /// A connection with one call on it.
    pub(super) fn entered(channel: Channel) -> Self {
        Self { channel, calls: AtomicUsize::new(1), given_up: CancellationToken::new() }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Takes a place unless there are `limit` calls already.
    pub(super) fn try_enter(&self, limit: usize) -> bool {
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| (calls < limit).then(|| calls + 1)).is_ok()
    }

    /// Ends the calls on it.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
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

    pub(super) fn given_up(&self) -> &CancellationToken {
        &self.lane.given_up
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.calls.fetch_sub(1, Ordering::Relaxed);
        self.backend.left();
    }
}
