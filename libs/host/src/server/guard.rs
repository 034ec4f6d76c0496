//! Who may call: a check of the headers right before the handler. [`Principal`] is the usual one: a signed header becomes an
//! extension that handlers read.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap, HeaderName, Request, Response};
use serde::de::DeserializeOwned;
use tonic::Status;
use tower::Service;

use super::body::CallBody;
use super::is_infrastructure;
use crate::signed::{TokenError, Verified, Verifier};

/// Decides from the path and the headers whether a call may go on. Must not block: it runs on every call.
pub trait Guard: Send + Sync + 'static {
    /// Lets the call on, possibly with more extensions or fewer headers.
    ///
    /// # Errors
    ///
    /// The status the caller gets, usually UNAUTHENTICATED.
    fn check(&self, path: &str, headers: &mut HeaderMap, extensions: &mut Extensions) -> Result<(), Status>;
}

/// Demands a header with claims `T` signed by the mesh, and puts them as [`Verified<T>`] into the extensions. Health and
/// reflection need none.
pub struct Principal<T> {
    header: HeaderName,
    verifier: Verifier,
    claims: PhantomData<fn() -> T>,
}

impl<T> Principal<T> {
    /// Reads `header` and verifies it with `verifier`.
    #[must_use]
    pub fn new(header: HeaderName, verifier: Verifier) -> Self {
        Self { header, verifier, claims: PhantomData }
    }
}

impl<T: DeserializeOwned + Clone + Send + Sync + 'static> Guard for Principal<T> {
    fn check(&self, path: &str, headers: &mut HeaderMap, extensions: &mut Extensions) -> Result<(), Status> {
        // Taken out, so that no handler can forward it by accident.
        let Some(value) = headers.remove(&self.header) else {
            if is_infrastructure(path) {
                return Ok(());
            }
            return Err(Status::unauthenticated("no principal"));
        };
        let token = value.to_str().map_err(|_| Status::unauthenticated("principal is not valid"))?;
        let verified: Verified<T> = self.verifier.verify(token).map_err(|error| match error {
            TokenError::Expired => Status::unauthenticated("principal has expired"),
            TokenError::Invalid | TokenError::Unsignable => Status::unauthenticated("principal is not valid"),
        })?;
        extensions.insert(verified);
        Ok(())
    }
}

#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    guard: Option<Arc<dyn Guard>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, guard: Option<Arc<dyn Guard>>) -> Self {
        Self { inner, guard }
    }
}

impl<S, B, RB> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<RB>;
    type Error = Infallible;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(guard) = &self.guard else { return GuardFuture(Ok(self.inner.call(request))) };
        let (mut parts, body) = request.into_parts();
        let checked = guard.check(parts.uri.path(), &mut parts.headers, &mut parts.extensions);
        GuardFuture(checked.map(|()| self.inner.call(Request::from_parts(parts, body))))
    }
}

pub(super) struct GuardFuture<F>(Result<F, Status>);

impl<F, RB> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
    RB: CallBody,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(inner) => Pin::new(inner).poll(cx),
            Err(status) => Poll::Ready(Ok(status.clone().into_http())),
        }
    }
}
