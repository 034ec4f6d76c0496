//! The body of a request that ends with its answer. Reflection reads its requests in a task of its own, which would outlive the
//! answer for as long as its caller likes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

pub(in crate::server) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Kept by the answer. Dropped, the request ends.
pub(in crate::server) struct Alive(#[expect(dead_code, reason = "its drop is what it says")] oneshot::Sender<Infallible>);

/// Learns that the answer is over.
pub(super) struct Over(oneshot::Receiver<Infallible>);

pub(super) fn pair() -> (Alive, Over) {
    let (alive, over) = oneshot::channel();
    (Alive(alive), Over(over))
}

/// The body of a request.
pub(in crate::server) struct Cut<B> {
    inner: B,
    over: Option<Over>,
}

impl<B> Cut<B> {
    /// Ends by itself only.
    pub(super) fn never(inner: B) -> Self {
        Self { inner, over: None }
    }

    /// Ends when its answer does.
    pub(super) fn with(inner: B, over: Over) -> Self {
        Self { inner, over: Some(over) }
    }
}

impl<B> Body for Cut<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(Over(over)) = &mut this.over
            && Pin::new(over).poll(cx).is_ready()
        {
            this.over = None;
            return Poll::Ready(Some(Err("the answer is over".into())));
        }
        Pin::new(&mut this.inner).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
