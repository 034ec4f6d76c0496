//! Refuses calls over the limit at once, with OVERLOADED and a time to come back. Has no queue. Streams have a limit of their
//! own, so that viewers cannot starve calls.
//!
//! Infrastructure has limits of its own, per connection and in all, since strangers call it. A health check takes a place only when
//! it has to wait for the rest of its request: a whole one is never refused, so that load does not look like death.

mod cut;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};
use tower::Service;

use super::body::CallBody;
use super::config::ServerConfig;
use super::infrastructure::{self, Method, OfConnection, OfProcess};
use crate::{metrics, status};
use cut::{Alive, BoxError, Cut};

/// Room for calls and for streams.
#[derive(Clone)]
pub(super) struct Limits {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    infrastructure: OfProcess,
    shed: Counter<u64>,
}

impl Limits {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let room = |size: usize| Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)));
        let shed = opentelemetry::global::meter("runmesh-host").u64_counter(metrics::SERVER_CALLS_SHED).build();
        let infrastructure = OfProcess::new(config, shed.clone());
        Self { calls: room(config.max_calls), streams: room(config.max_streams), infrastructure, shed }
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

    /// A place for a call of the service.
    fn admit(&self, path: &str) -> Result<Place, Status> {
        let room = if (self.class)(path).is_some() { &self.limits.calls } else { &self.limits.streams };
        Arc::clone(room).try_acquire_owned().map(Place::Call).map_err(|_| {
            self.limits.shed.add(1, &[]);
            status::with_reason(Code::ResourceExhausted, "server is at its limit", status::OVERLOADED)
        })
    }
}

/// A place, given back when dropped.
enum Place {
    Call(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Infrastructure(#[expect(dead_code, reason = "held")] infrastructure::Place),
}

impl<S, B, RB> Service<Request<B>> for Shed<S>
where
    S: Service<Request<Cut<B>>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    RB: CallBody,
{
    type Response = Response<Admitted<RB>>;
    type Error = Infallible;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(method) = infrastructure::method(request.uri().path()) else {
            return match self.admit(request.uri().path()) {
                Ok(place) => {
                    let inner = self.inner.call(request.map(Cut::never));
                    ShedFuture::Admitted { inner, held: Held { place: Some(place), _alive: None } }
                }
                Err(status) => ShedFuture::Refused(status),
            };
        };
        let waiting = Waiting {
            process: self.limits.infrastructure.clone(),
            connection: request.extensions().get::<OfConnection>().cloned(),
            method,
        };
        let place = match method {
            Method::Check => None,
            Method::Watch | Method::Reflection => match waiting.enter() {
                Ok(place) => Some(place),
                Err(status) => return ShedFuture::Refused(status),
            },
        };
        let (alive, cut) = cut::pair();
        let inner = self.inner.call(request.map(|body| Cut::with(body, cut)));
        ShedFuture::Infrastructure { inner, held: Held { place, _alive: Some(alive) }, waiting }
    }
}

/// What an infrastructure call needs to ask for a place.
pub(super) struct Waiting {
    process: OfProcess,
    connection: Option<OfConnection>,
    method: Method,
}

impl Waiting {
    fn enter(&self) -> Result<Place, Status> {
        self.process.enter(self.method, self.connection.as_ref()).map(Place::Infrastructure)
    }
}

/// What a call holds until its end.
#[derive(Default)]
pub(super) struct Held {
    place: Option<Place>,
    /// Dropped, the request ends too: nobody must read on behind an answer that is over.
    _alive: Option<Alive>,
}

pub(super) enum ShedFuture<F> {
    Admitted { inner: F, held: Held },
    Infrastructure { inner: F, held: Held, waiting: Waiting },
    Refused(Status),
}

impl<F, RB> Future for ShedFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = Result<Response<Admitted<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, held) = match &mut *self {
            Self::Refused(status) => return Poll::Ready(Ok(status.clone().into_http())),
            Self::Admitted { inner, held } => (Pin::new(inner).poll(cx), held),
            Self::Infrastructure { inner, held, waiting } => {
                let answer = Pin::new(inner).poll(cx).map_ok(caused_by_caller);
                if answer.is_pending() && held.place.is_none() {
                    match waiting.enter() {
                        Ok(place) => held.place = Some(place),
                        Err(status) => return Poll::Ready(Ok(status.into_http())),
                    }
                }
                (answer, held)
            }
        };
        answer.map_ok(|response| {
            let held = std::mem::take(held);
            response.map(|inner| Admitted { inner, _held: held })
        })
    }
}

/// The answer of an infrastructure method, whose failures to decode are not faults of ours.
fn caused_by_caller<RB: CallBody>(response: Response<RB>) -> Response<RB> {
    match status::code_of(response.headers()).and_then(infrastructure::refusal) {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// A body that holds the call's place until its end.
#[derive(Default)]
pub(super) struct Admitted<B> {
    inner: B,
    _held: Held,
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
