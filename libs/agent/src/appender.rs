//! What a run tells its followers: events go into a bounded buffer, and a task of the run carries them to a relay.
//!
//! *Invariant S1, the worker's side:* an event keeps its number until it is acknowledged and is sent again, through any
//! relay, until then. The run never waits for the log longer than it is told to: when the log is away, deltas are dropped
//! and the state of their steps is told anew afterwards. Journaling never depends on this file.

mod buffer;
mod carry;
mod patience;
mod queue;
mod replay;

use crate::control::Control;
use crate::mesh::{Channels, Credentials};
use buffer::Buffer;
use carry::Carrier;
use runmesh_domain::event::{Event, fit};
use runmesh_domain::journal::Step;
use runmesh_domain::log::Position;
use runmesh_wire::convert::journal::HeldRun;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// How long a full buffer holds up the run before deltas are dropped.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// How long the end of the stream may take once the run is over.
const CLOSE_WAIT: Duration = Duration::from_millis(50);

/// The attempt that events belong to.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The lease.
    pub(crate) held: HeldRun,
    /// Where the log stood at the last journaled write.
    pub(crate) position: Position,
    /// The W3C traceparent, or nothing.
    pub(crate) traceparent: String,
}

/// The events of one attempt. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Events {
    shared: Arc<Shared>,
    task: AbortOnDropHandle<()>,
}

/// What the run and the task of its stream share.
#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// There is something to send, or the end has come.
    work: Notify,
    /// Something was acknowledged, or the stream stopped.
    progress: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the buffer is as wanted; false when that takes longer than `within`.
    async fn wait_until(&self, within: Duration, wanted: impl Fn(&Buffer) -> bool) -> bool {
        let wait = async {
            loop {
                let mut progress = std::pin::pin!(self.progress.notified());
                // Enabled before the look, so that no progress in between is missed.
                progress.as_mut().enable();
                if wanted(&self.lock()) {
                    return;
                }
                progress.await;
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }
}

impl Events {
    /// Opens the attempt's stream in a task of its own; `steps` is the journal as the attempt found it.
    pub(crate) fn open(
        channels: &Channels,
        credentials: &Credentials,
        control: &Arc<Control>,
        attempt: Attempt,
        steps: &[Step],
    ) -> Self {
        let buffer = Mutex::new(Buffer::new(attempt.position, steps));
        let shared = Arc::new(Shared { buffer, work: Notify::new(), progress: Notify::new() });
        let carrier = Carrier {
            shared: Arc::clone(&shared),
            channel: channels.appends.clone(),
            credentials: credentials.clone(),
            control: Arc::clone(control),
            attempt,
        };
        let task = tokio::spawn(carrier.run().instrument(tracing::Span::current()));
        Self { shared, task: AbortOnDropHandle::new(task) }
    }

    /// Tells an event. Waits while the buffer is full, but no longer than a second in all until there is room again.
    pub(crate) async fn push(&self, event: Event) {
        if fit::fits(&event) {
            return self.push_fitting(event).await;
        }
        for piece in fit::pieces(event) {
            self.push_fitting(piece).await;
        }
    }

    async fn push_fitting(&self, event: Event) {
        if !self.shared.lock().has_room() && !self.shared.wait_until(ROOM_WAIT, Buffer::has_room).await {
            self.shared.lock().skip();
        }
        self.shared.lock().push(event);
        self.shared.work.notify_one();
    }

    /// Waits until everything told so far is acknowledged, at most `within`. A log that was waited for in vain is not
    /// waited for again until it gives a sign.
    pub(crate) async fn flush(&self, within: Duration) -> bool {
        if self.shared.lock().is_away() {
            return false;
        }
        let flushed = self.shared.wait_until(within, Buffer::is_flushed).await;
        if !flushed {
            self.shared.lock().set_away();
        }
        flushed
    }

    /// Where the log stood at the last acknowledged event.
    pub(crate) fn acked(&self) -> Position {
        self.shared.lock().position()
    }

    /// Ends the stream, without waiting for acknowledgements.
    pub(crate) async fn close(self) {
        self.shared.lock().close();
        self.shared.work.notify_one();
        // A relay that does not let go is cut off when the handle is dropped.
        let _ = tokio::time::timeout(CLOSE_WAIT, self.task).await;
    }
}
