//! Turns a panic of a handler, or of the stream it returned, into an INTERNAL answer. The message of the panic goes to the
//! log, never to the caller.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower::Service;

use super::body::CallBody;
use crate::lifecycle::panic_text;
use crate::status;

#[derive(Clone)]
pub(super) struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

/// Runs `work`; a panic in it is logged and becomes the status.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Status> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        tracing::error!(panic = panic_text(&*payload), "handler panicked");
        Status::internal("internal error")
    })
}

impl<S, B, RB> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<Caught<RB>>;
    type Error = Infallible;
    type Future = CatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        CatchFuture(caught(|| self.inner.call(request)))
    }
}

pub(super) struct CatchFuture<F>(Result<F, Status>);

impl<F, RB> Future for CatchFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = Result<Response<Caught<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.0 {
            Ok(inner) => caught(|| Pin::new(inner).poll(cx)),
            Err(status) => Err(status.clone()),
        };
        match outcome {
            Ok(poll) => {
                let Ok(response) = ready!(poll);
                Poll::Ready(Ok(response.map(|inner| Caught { inner })))
            }
            Err(status) => Poll::Ready(Ok(status.into_http())),
        }
    }
}

#[derive(Default)]
pub(super) struct Caught<B> {
    inner: B,
}

impl<B: CallBody> Body for Caught<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match caught(|| Pin::new(&mut this.inner).poll_frame(cx)) {
            Ok(poll) => poll,
            Err(status) => {
                // What panicked is not polled again.
                this.inner = B::default();
                Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&status)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
