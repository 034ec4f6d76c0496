//! Refuses calls over the limit at once, with OVERLOADED and a time to come back. Has no queue. Streams have a limit of their
//! own, so that viewers cannot starve calls; health is never refused, so that load does not look like death.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};
use tower::Service;

use super::body::CallBody;
use super::is_infrastructure;
use crate::{metrics, status};

/// Room for calls and for streams.
#[derive(Clone)]
pub(super) struct Limits {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shed: Counter<u64>,
}

impl Limits {
    pub(super) fn new(calls: usize, streams: usize) -> Self {
        let room = |size: usize| Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)));
        let shed = opentelemetry::global::meter("runmesh-host").u64_counter(metrics::SERVER_CALLS_SHED).build();
        Self { calls: room(calls), streams: room(streams), shed }
    }
}

#[derive(Clone)]
pub(super) struct Shed<S> {
    inner: S,
    limits: Limits,
    class: fn(&str) -> Option<Duration>,
}

impl<S> Shed<S> {
    pub(super) fn new(inner: S, limits: Limits, class: fn(&str) -> Option<Duration>) -> Self {
        Self { inner, limits, class }
    }

    /// A place for the call; `Ok(None)` when it needs none.
    fn admit(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if is_infrastructure(path) {
            return Ok(None);
        }
        let room = if (self.class)(path).is_some() { &self.limits.calls } else { &self.limits.streams };
        Arc::clone(room).try_acquire_owned().map(Some).map_err(|_| {
            self.limits.shed.add(1, &[]);
            status::with_reason(Code::ResourceExhausted, "server is at its limit", status::OVERLOADED)
        })
    }
}

impl<S, B, RB> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<Admitted<RB>>;
    type Error = Infallible;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.admit(request.uri().path()) {
            Ok(permit) => ShedFuture::Admitted { inner: self.inner.call(request), permit },
            Err(status) => ShedFuture::Refused(status),
        }
    }
}

pub(super) enum ShedFuture<F> {
    Admitted { inner: F, permit: Option<OwnedSemaphorePermit> },
    Refused(Status),
}

impl<F, RB> Future for ShedFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = Result<Response<Admitted<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(status) => Poll::Ready(Ok(status.clone().into_http())),
            Self::Admitted { inner, permit } => {
                let Ok(response) = ready!(Pin::new(inner).poll(cx));
                let permit = permit.take();
                Poll::Ready(Ok(response.map(|inner| Admitted { inner, _permit: permit })))
            }
        }
    }
}

/// A body that holds the call's place until its end.
#[derive(Default)]
pub(super) struct Admitted<B> {
    inner: B,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<B: CallBody> Body for Admitted<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
