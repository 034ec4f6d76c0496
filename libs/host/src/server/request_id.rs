//! Gives every call an id that its answer repeats. An unusable id of a caller is replaced, never refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response};
use tower::Service;

use crate::propagate::{REQUEST_ID, RequestId};
use crate::random;

const ID_BYTES_MAX: usize = 128;

#[derive(Clone)]
pub(super) struct RequestIds<S> {
    inner: S,
}

impl<S> RequestIds<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, RB> Service<Request<B>> for RequestIds<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<RB>;
    type Error = Infallible;
    type Future = Echo<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = match request.headers().get(REQUEST_ID) {
            Some(given) if is_usable(given) => given.clone(),
            _ => fresh(),
        };
        request.headers_mut().insert(REQUEST_ID, id.clone());
        request.extensions_mut().insert(RequestId(id.clone()));
        Echo { inner: self.inner.call(request), id: Some(id) }
    }
}

fn is_usable(id: &HeaderValue) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn fresh() -> HeaderValue {
    let id = format!("{:016x}{:016x}", random::bits(), random::bits());
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unknown"))
}

pub(super) struct Echo<F> {
    inner: F,
    id: Option<HeaderValue>,
}

impl<F, RB> Future for Echo<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut response) = ready!(Pin::new(&mut self.inner).poll(cx));
        if let Some(id) = self.id.take() {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        Poll::Ready(Ok(response))
    }
}
