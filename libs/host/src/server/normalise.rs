//! Sees to it that every failed gRPC answer is one status with one `ErrorInfo`: in headers, in trailers, in place of a body
//! that broke, and in place of plain HTTP errors. Answers that are not gRPC pass untouched.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower::Service;

use super::body::CallBody;
use crate::status::{self, ReasonOf};

#[derive(Clone)]
pub(super) struct Normalise<S> {
    inner: S,
    reason: ReasonOf,
}

impl<S> Normalise<S> {
    pub(super) fn new(inner: S, reason: ReasonOf) -> Self {
        Self { inner, reason }
    }
}

impl<S, B, RB> Service<Request<B>> for Normalise<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<Normal<RB>>;
    type Error = Infallible;
    type Future = NormaliseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_grpc = is_grpc(request.headers());
        NormaliseFuture { inner: self.inner.call(request), reason: self.reason, is_grpc }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

pub(super) struct NormaliseFuture<F> {
    inner: F,
    reason: ReasonOf,
    is_grpc: bool,
}

impl<F, RB> Future for NormaliseFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = Result<Response<Normal<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(mut response) = ready!(Pin::new(&mut this.inner).poll(cx));
        if !this.is_grpc {
            return Poll::Ready(Ok(response.map(Normal::untouched)));
        }
        if status::code_of(response.headers()).is_none() && response.status() != StatusCode::OK {
            let code = status::from_http(response.status());
            response = Status::new(code, format!("http status {}", response.status().as_u16())).into_http();
        }
        let normal = if status::code_of(response.headers()).is_some() {
            status::complete(response.headers_mut(), this.reason);
            response.map(Normal::untouched)
        } else {
            response.map(|inner| Normal { inner, awaiting_trailers: Some(this.reason) })
        };
        Poll::Ready(Ok(normal))
    }
}

/// A body that ends with a complete status.
#[derive(Default)]
pub(super) struct Normal<B> {
    inner: B,
    /// Set until the trailers have passed.
    awaiting_trailers: Option<ReasonOf>,
}

impl<B> Normal<B> {
    fn untouched(inner: B) -> Self {
        Self { inner, awaiting_trailers: None }
    }
}

impl<B: CallBody> Body for Normal<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        let Some(reason) = this.awaiting_trailers else { return Poll::Ready(frame) };
        let mut trailers = match frame {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(data) => return Poll::Ready(Some(Ok(data))),
            },
            Some(Err(error)) => status::trailers(&error),
            None => status::trailers(&Status::unavailable("answer ended without a status")),
        };
        this.awaiting_trailers = None;
        this.inner = B::default();
        status::complete(&mut trailers, reason);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // Not before the trailers: an inner body that ends early still gets a status.
        self.awaiting_trailers.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
