//! Sends a call on to the service behind and its answer back, byte for byte. Looks at the five bytes before each message of the
//! request, never into one.

mod answer;
mod frames;
mod request;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use runmesh_domain::Reason;
use runmesh_wire::status;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use crate::methods::{Method, Pool};
use crate::upstreams::Upstreams;

/// Where the edge decided that a call goes: put into its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static Method,
    /// When a stream must end, because what its caller showed does.
    pub(crate) ends: Option<Instant>,
}

/// The fallback of the routes.
#[derive(Clone)]
pub(crate) struct Forward {
    upstreams: Arc<Upstreams>,
    drain: CancellationToken,
}

impl Forward {
    /// Forwards to `upstreams`; streams end soon after `drain`.
    pub(crate) fn new(upstreams: Arc<Upstreams>, drain: CancellationToken) -> Self {
        Self { upstreams, drain }
    }
}

impl Service<Request<axum::body::Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.run(request).await) })
    }
}

impl Forward {
    async fn run(self, request: Request<axum::body::Body>) -> Response<Body> {
        if !is_grpc(request.headers()) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let Some(Route { method, ends }) = request.extensions().get::<Route>().copied() else {
            return status::plain(Reason::UnknownMethod, "no such method").into_http();
        };
        let mut upstream = self.upstreams.of(method);
        let (parts, body) = request.into_parts();
        let (body, mut handle) = request::checked(body, method);
        let call = upstream.call(Request::from_parts(parts, body));
        let answer = tokio::select! {
            biased;
            answer = call => answer.unwrap_or_else(|never| match never {}),
            refusal = handle.refused() => return refusal.into_http(),
        };
        // A body that was refused ends the call behind too; the caller hears why, not that.
        if let Some(refusal) = handle.refused_already() {
            return refusal.into_http();
        }
        match method.pool {
            Pool::Unary => answer,
            Pool::Viewers | Pool::Workers => answer::bounded(answer, handle, ends, self.drain),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
