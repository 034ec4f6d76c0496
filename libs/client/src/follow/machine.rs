//! The follower: opens attachments, feeds their frames to the tracker, and comes back when they break.

use super::attach;
use super::line::Line;
use super::tracker::{Taken, Tracker};
use super::update::{EndReason, Start, Update};
use crate::client::Client;
use crate::error::ClientError;
use futures::{FutureExt as _, Stream};
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_wire::pb::stream as pb;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A run being followed: a [`Stream`] of [`Update`]s.
///
/// It comes back by itself, with the cursor of what it last told, when the connection breaks, the mesh answers
/// UNAVAILABLE or the relay goes down; each time it says so with [`Update::Reconnecting`]. It ends with one
/// [`Update::End`], or with one error: a refusal of the mesh (`NOT_FOUND`, `INVALID_CURSOR`, …), [`ClientError::Protocol`]
/// for events that are repeated or missing, or [`ClientError::GaveUp`] when nothing was heard for
/// [`crate::Options::patience`]. After either it yields nothing more. Dropping it detaches; the run goes on.
pub struct Follow {
    run: RunId,
    tracker: Tracker,
    line: Line<pb::AttachRunResponse>,
}

impl Follow {
    pub(super) fn new(client: Client, run: RunId, start: Start) -> Self {
        let mut tracker = Tracker::new(start);
        let opening = attach::to_run(client.clone(), run, tracker.attach_from()).boxed();
        Self { run, tracker, line: Line::new(client, opening) }
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// The fold of everything told so far. Without its beginning when the follower started live or from a later cursor: see
    /// [`Follow::is_whole`].
    #[must_use]
    pub const fn view(&self) -> &RunView {
        self.tracker.view()
    }

    /// True when [`Follow::view`] is the whole run and not only its end.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.tracker.is_whole()
    }

    /// Where to come back to: covers exactly what was told. Nothing before the first snapshot or event.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.tracker.cursor()
    }

    /// How many attachments were given up and begun anew.
    #[must_use]
    pub const fn reconnects(&self) -> u32 {
        self.line.reconnects()
    }

    /// How many times the events of an attachment joined another log than the one followed.
    #[must_use]
    pub const fn chain_mismatches(&self) -> u32 {
        self.tracker.mismatches()
    }

    /// The next update; nothing after the last. The wait may be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Option<Result<Update, ClientError>> {
        futures::StreamExt::next(self).await
    }

    /// Follows to the end of the run; the view of it.
    ///
    /// # Errors
    /// Those of the stream; [`ClientError::Interrupted`] when the credentials expired first.
    pub async fn to_end(&mut self) -> Result<RunView, ClientError> {
        while let Some(update) = self.next().await {
            if let Update::End { reason, .. } = update? {
                return match reason {
                    EndReason::Finished => Ok(self.view().clone()),
                    EndReason::TokenExpired => Err(ClientError::Interrupted { problem: "the token has expired" }),
                };
            }
        }
        Err(ClientError::Interrupted { problem: "the follower was at its end already" })
    }

    /// One message, or the end of the attachment.
    fn take(&mut self, next: Result<pb::AttachRunResponse, ClientError>) -> Option<Result<Update, ClientError>> {
        let frame = match next {
            Ok(pb::AttachRunResponse { frame }) => frame,
            Err(error) => return Some(self.broken(error)),
        };
        // A kind of frame that this version does not know tells only that the relay lives.
        let taken = frame.map_or(Ok(Taken::Nothing), |frame| self.tracker.take(frame));
        self.line.heard(brought_on(&taken));
        match taken {
            Ok(Taken::Nothing) => None,
            Ok(Taken::Told(update)) => Some(Ok(self.told(update))),
            Ok(Taken::Draining) => Some(self.broken(DRAINING)),
            Ok(Taken::Mismatch) => Some(self.broken(MISMATCH)),
            Err(error) => {
                self.line.close();
                Some(Err(error))
            }
        }
    }

    fn told(&mut self, update: Update) -> Update {
        if matches!(update, Update::End { .. }) {
            self.line.close();
        }
        update
    }

    fn broken(&mut self, error: ClientError) -> Result<Update, ClientError> {
        self.line.broken(error).map(|error| Update::Reconnecting { error })
    }
}

/// The relay said that it goes down.
pub(super) const DRAINING: ClientError = ClientError::Interrupted { problem: "the relay is going down" };
/// See [`Taken::Mismatch`].
pub(super) const MISMATCH: ClientError = ClientError::Interrupted { problem: "the log does not join" };

/// Whether something came that a reader did not have yet.
pub(super) const fn brought_on(taken: &Result<Taken, ClientError>) -> bool {
    matches!(taken, Ok(Taken::Told(Update::Events { .. } | Update::Snapshot(_))))
}

impl Stream for Follow {
    type Item = Result<Update, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Self { run, tracker, line } = &mut *this;
            let open = |client| attach::to_run(client, *run, tracker.attach_from()).boxed();
            let Some(next) = ready!(line.poll_next(cx, open)) else { return Poll::Ready(None) };
            if let Some(item) = this.take(next) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("run", &self.run).field("tracker", &self.tracker).finish_non_exhaustive()
    }
}
