//! Enforces the time of a call over its headers and its body: the smaller of what the caller sent and what its class allows.
//! A timer is made only for calls that have to wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tower::Service;

use super::body::CallBody;
use super::infrastructure;
use crate::deadline::{self, Deadline};
use crate::status;

#[derive(Clone)]
pub(super) struct Deadlines<S> {
    inner: S,
    class: fn(&str) -> Option<Duration>,
}

impl<S> Deadlines<S> {
    pub(super) fn new(inner: S, class: fn(&str) -> Option<Duration>) -> Self {
        Self { inner, class }
    }
}

impl<S, B, RB> Service<Request<B>> for Deadlines<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<Bounded<RB>>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let sent = deadline::from_headers(request.headers());
        let open = infrastructure::method(request.uri().path());
        let allowed = open.map_or_else(|| (self.class)(request.uri().path()), infrastructure::Method::deadline);
        let time = sent.into_iter().chain(allowed).min();
        let clock = Clock { deadline: time.and_then(Deadline::after), timer: None };
        if let Some(deadline) = clock.deadline {
            request.extensions_mut().insert(deadline);
        }
        // A stranger's stream may last, but not wait for its own request.
        let answer = Clock { deadline: open.and_then(|_| Deadline::after(infrastructure::ANSWER_WITHIN)), timer: None };
        DeadlineFuture { inner: self.inner.call(request), clock: Some(clock), answer }
    }
}

/// The deadline and, once something waited, its timer.
#[derive(Default)]
struct Clock {
    deadline: Option<Deadline>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Whether the time is over; otherwise the task is woken when it is.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Deadline(at)) = self.deadline else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// As `is_over`, without a timer: for a body that never has to wait.
    fn has_passed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.is_past())
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("deadline exceeded")
}

pub(super) struct DeadlineFuture<F> {
    inner: F,
    clock: Option<Clock>,
    /// Until the answer begins.
    answer: Clock,
}

impl<F, RB> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = Result<Response<Bounded<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(Ok(response)) = Pin::new(&mut this.inner).poll(cx) {
            let clock = this.clock.take().unwrap_or_default();
            return Poll::Ready(Ok(response.map(|inner| Bounded { inner, clock })));
        }
        if this.clock.as_mut().is_some_and(|clock| clock.is_over(cx)) || this.answer.is_over(cx) {
            return Poll::Ready(Ok(exceeded().into_http()));
        }
        Poll::Pending
    }
}

#[derive(Default)]
pub(super) struct Bounded<B> {
    inner: B,
    clock: Clock,
}

impl<B: CallBody> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            // Data after the time is cut off; trailers are the end anyway and say more than we could.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && this.clock.has_passed() => {}
            Poll::Ready(frame) => return Poll::Ready(frame),
            Poll::Pending if this.clock.is_over(cx) => {}
            Poll::Pending => return Poll::Pending,
        }
        // Dropping the inner body is what cancels the handler.
        *this = Self::default();
        Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&exceeded())))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
