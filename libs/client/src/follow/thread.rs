//! The follower of a thread: attachments as those of a run, and a tracker for each turn.

mod turns;

use super::attach;
use super::line::Line;
use super::machine::{DRAINING, MISMATCH};
use super::update::{ThreadStart, ThreadUpdate, Update};
use crate::client::Client;
use crate::error::ClientError;
use futures::{FutureExt as _, Stream};
use runmesh_domain::fold::RunView;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_wire::pb::stream as pb;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use turns::{Taken, Turns};

/// A thread being followed: a [`Stream`] of [`ThreadUpdate`]s, its turns in order, each to its end.
///
/// It comes back by itself as [`crate::Follow`] does, with the cursor of what it last told, and checks what it is told in
/// the same way: what it yields without an error and without [`Update::Reset`] is every event of every turn from where it
/// started, exactly once and in order (S1). It goes on until the thread is deleted or the credentials expire, and says
/// which with one [`Update::End`], or ends with one error. Dropping it detaches; the turns go on.
pub struct ThreadFollow {
    thread: ThreadId,
    turns: Turns,
    line: Line<pb::AttachThreadResponse>,
}

impl ThreadFollow {
    pub(super) fn new(client: Client, thread: ThreadId, start: ThreadStart) -> Self {
        let turns = Turns::new(start);
        let opening = attach::to_thread(client.clone(), thread, turns.attach_from()).boxed();
        Self { thread, turns, line: Line::new(client, opening) }
    }

    /// The thread.
    #[must_use]
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The run of the turn told last.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        self.turns.run()
    }

    /// The fold of everything told of that turn; empty before the first. Without its beginning when the follower started
    /// in the middle of it: see [`ThreadFollow::is_whole`].
    #[must_use]
    pub const fn view(&self) -> &RunView {
        self.turns.view()
    }

    /// True when [`ThreadFollow::view`] is the whole turn and not only its end.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.turns.is_whole()
    }

    /// Where to come back to: covers exactly what was told. Nothing before the mesh has answered.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.turns.cursor()
    }

    /// How many attachments were given up and begun anew.
    #[must_use]
    pub const fn reconnects(&self) -> u32 {
        self.line.reconnects()
    }

    /// The next update; nothing after the last. The wait may be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Option<Result<ThreadUpdate, ClientError>> {
        futures::StreamExt::next(self).await
    }

    fn take(&mut self, next: Result<pb::AttachThreadResponse, ClientError>) -> Option<Result<ThreadUpdate, ClientError>> {
        let frame = match next {
            Ok(pb::AttachThreadResponse { frame }) => frame,
            Err(error) => return Some(self.broken(error)),
        };
        // A kind of frame that this version does not know tells only that the relay lives.
        let taken = frame.map_or(Ok(Taken::Nothing), |frame| self.turns.take(frame));
        let brought_on = matches!(taken, Ok(Taken::Told(ThreadUpdate::Of(Update::Events { .. } | Update::Snapshot(_)))));
        self.line.heard(brought_on);
        match taken {
            Ok(Taken::Nothing) => None,
            Ok(Taken::Told(update)) => {
                if matches!(update, ThreadUpdate::Of(Update::End { .. })) {
                    self.line.close();
                }
                Some(Ok(update))
            }
            Ok(Taken::Draining) => Some(self.broken(DRAINING)),
            Ok(Taken::Mismatch) => Some(self.broken(MISMATCH)),
            Err(error) => {
                self.line.close();
                Some(Err(error))
            }
        }
    }

    fn broken(&mut self, error: ClientError) -> Result<ThreadUpdate, ClientError> {
        self.line.broken(error).map(|error| ThreadUpdate::Of(Update::Reconnecting { error }))
    }
}

impl Stream for ThreadFollow {
    type Item = Result<ThreadUpdate, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Self { thread, turns, line } = &mut *this;
            let open = |client| attach::to_thread(client, *thread, turns.attach_from()).boxed();
            let Some(next) = ready!(line.poll_next(cx, open)) else { return Poll::Ready(None) };
            if let Some(item) = this.take(next) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl std::fmt::Debug for ThreadFollow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadFollow").field("thread", &self.thread).field("turns", &self.turns).finish_non_exhaustive()
    }
}
