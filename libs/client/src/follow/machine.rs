//! The follower: opens attachments, feeds their frames to the tracker, and comes back when they break.

use super::attach::{self, Frames};
use super::patience::Patience;
use super::tracker::{Taken, Tracker};
use super::update::{EndReason, Start, Update};
use crate::bounds;
use crate::client::Client;
use crate::error::ClientError;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_wire::pb::stream as pb;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep};

/// A run being followed: a [`Stream`] of [`Update`]s.
///
/// It comes back by itself, with the cursor of what it last told, when the connection breaks, the mesh answers
/// UNAVAILABLE or the relay goes down; each time it says so with [`Update::Reconnecting`]. It ends with one
/// [`Update::End`], or with one error: a refusal of the mesh (`NOT_FOUND`, `INVALID_CURSOR`, …), [`ClientError::Protocol`]
/// for events that are repeated or missing, or [`ClientError::GaveUp`] when nothing was heard for
/// [`crate::Options::patience`]. After either it yields nothing more. Dropping it detaches; the run goes on.
pub struct Follow {
    client: Client,
    run: RunId,
    tracker: Tracker,
    patience: Patience,
    phase: Phase,
    reconnects: u32,
}

enum Phase {
    /// Waiting before the next attachment.
    Pausing(Pin<Box<Sleep>>),
    /// The attachment is being opened.
    Opening(BoxFuture<'static, Result<Frames, ClientError>>),
    /// Frames come; the timer ends a silence.
    Attached { frames: Box<Frames>, silence: Pin<Box<Sleep>> },
    /// Nothing more comes.
    Over,
}

impl Follow {
    pub(super) fn new(client: Client, run: RunId, start: Start) -> Self {
        let mut tracker = Tracker::new(start);
        let opening = attach::open(client.clone(), run, tracker.attach_from()).boxed();
        let patience = Patience::new(client.patience(), Instant::now());
        Self { client, run, tracker, patience, phase: Phase::Opening(opening), reconnects: 0 }
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
        self.reconnects
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

    /// One frame, or the end of the attachment.
    fn take(&mut self, next: Option<Result<pb::AttachRunResponse, tonic::Status>>) -> Option<Result<Update, ClientError>> {
        let frame = match next {
            Some(Ok(pb::AttachRunResponse { frame })) => frame,
            Some(Err(status)) => return Some(self.broken(ClientError::of_status(status, self.client.address()))),
            None => return Some(self.broken(ClientError::Interrupted { problem: "the relay left without a word" })),
        };
        if let Phase::Attached { silence, .. } = &mut self.phase {
            silence.as_mut().reset(Instant::now() + bounds::SILENCE);
        }
        // A kind of frame that this version does not know tells only that the relay lives.
        let taken = frame.map_or(Ok(Taken::Nothing), |frame| self.tracker.take(frame));
        let brought_on = matches!(taken, Ok(Taken::Told(Update::Events { .. } | Update::Snapshot(_))));
        self.patience.heard(Instant::now(), brought_on);
        match taken {
            Ok(Taken::Nothing) => None,
            Ok(Taken::Told(update)) => Some(Ok(self.told(update))),
            Ok(Taken::Draining) => Some(self.broken(ClientError::Interrupted { problem: "the relay is going down" })),
            Ok(Taken::Mismatch) => Some(self.broken(ClientError::Interrupted { problem: "the log does not join" })),
            Err(error) => Some(self.over(error)),
        }
    }

    fn told(&mut self, update: Update) -> Update {
        if matches!(update, Update::End { .. }) {
            self.phase = Phase::Over;
        }
        update
    }

    /// An attachment is over before the run: comes back after a pause, unless that cannot help.
    fn broken(&mut self, error: ClientError) -> Result<Update, ClientError> {
        if !error.is_passing() {
            return self.over(error);
        }
        let Some(pause) = self.patience.pause(Instant::now(), &error) else {
            let after = self.patience.bound();
            return self.over(ClientError::GaveUp { after, last: Box::new(error) });
        };
        self.reconnects = self.reconnects.saturating_add(1);
        self.phase = Phase::Pausing(Box::pin(sleep(pause)));
        Ok(Update::Reconnecting { error })
    }

    fn over(&mut self, error: ClientError) -> Result<Update, ClientError> {
        self.phase = Phase::Over;
        Err(error)
    }
}

impl Stream for Follow {
    type Item = Result<Update, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    let opening = attach::open(this.client.clone(), this.run, this.tracker.attach_from());
                    this.phase = Phase::Opening(opening.boxed());
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(frames) => {
                        let silence = Box::pin(sleep(bounds::SILENCE));
                        this.phase = Phase::Attached { frames: Box::new(frames), silence };
                    }
                    Err(error) => return Poll::Ready(Some(this.broken(error))),
                },
                Phase::Attached { frames, silence } => {
                    if let Poll::Ready(next) = frames.poll_next_unpin(cx) {
                        match this.take(next) {
                            Some(item) => return Poll::Ready(Some(item)),
                            None => continue,
                        }
                    }
                    ready!(silence.as_mut().poll(cx));
                    let error = ClientError::Interrupted { problem: "the relay fell silent" };
                    return Poll::Ready(Some(this.broken(error)));
                }
            }
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("run", &self.run).field("tracker", &self.tracker).finish_non_exhaustive()
    }
}
