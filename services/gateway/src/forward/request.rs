//! The body of a request on its way through: each chunk is looked at before it goes on. A bad one ends the call behind, and the
//! reason goes to whoever answers the caller.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use runmesh_domain::Reason;
use runmesh_wire::status;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tonic::Status;

use super::frames::{Frames, Wrong};
use crate::methods::Method;

/// `body`, checked against what `method` takes, and the handle on it for whoever answers.
pub(super) fn checked(body: axum::body::Body, method: &Method) -> (Checked, RequestHandle) {
    let (refusal, refused) = oneshot::channel();
    let (alive, dropped) = oneshot::channel();
    let checked = Checked { inner: body, frames: Frames::new(method), refusal: Some(refusal), handle_dropped: dropped };
    (checked, RequestHandle { refused: Some(refused), _alive: alive })
}

/// Hears why a request was refused. Dropped, it ends the request: a caller that has its answer, but goes on sending, must not
/// keep the call behind open.
pub(super) struct RequestHandle {
    /// Gone once there can be no refusal any more.
    refused: Option<oneshot::Receiver<Status>>,
    _alive: oneshot::Sender<Infallible>,
}

impl RequestHandle {
    /// Waits for the refusal; for ever once there can be none.
    pub(super) async fn refused(&mut self) -> Status {
        if let Some(refused) = &mut self.refused {
            let told = refused.await;
            self.refused = None;
            if let Ok(status) = told {
                return status;
            }
        }
        std::future::pending().await
    }

    /// The refusal, if there was one already.
    pub(super) fn refused_already(&mut self) -> Option<Status> {
        let told = self.refused.as_mut()?.try_recv();
        if !matches!(told, Err(TryRecvError::Empty)) {
            self.refused = None; // nothing more will come, and it must not be asked again
        }
        told.ok()
    }
}

pub(super) struct Checked {
    inner: axum::body::Body,
    frames: Frames,
    /// Taken by the one refusal.
    refusal: Option<oneshot::Sender<Status>>,
    handle_dropped: oneshot::Receiver<Infallible>,
}

impl Checked {
    fn refuse(&mut self, wrong: Wrong) -> Status {
        if let Some(refusal) = self.refusal.take() {
            // Nobody listens any more when the answer is over already.
            let _unheard = refusal.send(wrong.status());
        }
        status::plain(Reason::Cancelled, "request refused")
    }

    fn look(&mut self, frame: &Frame<Bytes>) -> Result<(), Wrong> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        self.frames.follow(data)?;
        // Asked for here, since whoever sends the bytes on need not poll for the end after the last of them.
        if self.inner.is_end_stream() { self.frames.end() } else { Ok(()) }
    }
}

impl Body for Checked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.refusal.is_none() || Pin::new(&mut this.handle_dropped).poll(cx).is_ready() {
            this.refusal = None;
            return Poll::Ready(Some(Err(status::plain(Reason::Cancelled, "request is over"))));
        }
        let checked = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => this.look(&frame).map(|()| Some(Ok(frame))),
            // The caller went away.
            Some(Err(_)) => return Poll::Ready(Some(Err(status::plain(Reason::Cancelled, "request was not finished")))),
            None => this.frames.end().map(|()| None),
        };
        Poll::Ready(checked.unwrap_or_else(|wrong| Some(Err(this.refuse(wrong)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.frames.end().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
