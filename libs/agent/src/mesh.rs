//! How calls reach the mesh: over which channels, with which metadata. Knows nothing of what the calls say.

use futures::TryFutureExt as _;
use futures::future::MapErr;
use runmesh_wire::channel::{BoxError, MeshChannel};
use runmesh_wire::header;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::codegen::Service;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};

/// Bytes of one message of the mesh that a worker takes: a page of a run's context is larger than tonic's default.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The ways to the mesh. Long streams have channels of their own, so that they never use up the streams of a connection
/// that short calls need.
#[derive(Clone)]
pub struct Channels {
    /// For Claim: one stream for each session.
    pub claims: MeshChannel,
    /// For the short calls of runs.
    pub calls: MeshChannel,
    /// For Append: one stream for each run.
    pub appends: MeshChannel,
    /// Makes the channel of heartbeats. Called on the heartbeats' own thread within their own runtime, so that what the
    /// channel spawns runs there and heavy work elsewhere cannot starve it.
    pub heartbeats: Arc<dyn Fn() -> MeshChannel + Send + Sync>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

/// A channel whose error is a type of its own: over a boxed error the compiler cannot prove that the futures of tonic's
/// clients are `Send`.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) MeshChannel);

/// What a channel failed with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct CallError(BoxError);

type Inner = <MeshChannel as Service<http::Request<tonic::body::Body>>>::Future;

impl Service<http::Request<tonic::body::Body>> for Caller {
    type Response = http::Response<tonic::body::Body>;
    type Error = CallError;
    type Future = MapErr<Inner, fn(BoxError) -> CallError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.0.poll_ready(context).map_err(CallError)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        self.0.call(request).map_err(CallError as fn(BoxError) -> CallError)
    }
}

/// Who the worker is towards the mesh.
#[derive(Clone)]
pub struct Credentials {
    /// The metadata that tokens travel in: `authorization`, with `Bearer ` before the token, or another name, without.
    pub header: &'static str,
    /// The worker's own token as of now; asked for at every call that is not a run's.
    pub worker_token: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials that travel as `authorization: Bearer …`.
    pub fn bearer(worker_token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { header: "authorization", worker_token: Arc::new(worker_token) }
    }

    /// A request with the worker's own token.
    pub(crate) fn worker_request<T>(&self, message: T) -> tonic::Request<T> {
        self.request(&(self.worker_token)(), "", message)
    }

    /// A request with `token` and, when there is one, the traceparent. What cannot stand in metadata is left out, and the
    /// other side says what is missing.
    pub(crate) fn request<T>(&self, token: &str, traceparent: &str, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let value = if self.header.eq_ignore_ascii_case("authorization") { format!("Bearer {token}") } else { token.to_owned() };
        if let Ok(mut value) = AsciiMetadataValue::try_from(value) {
            value.set_sensitive(true);
            insert(&mut request, self.header, value);
        }
        if !traceparent.is_empty()
            && let Ok(value) = AsciiMetadataValue::try_from(traceparent)
        {
            insert(&mut request, header::TRACEPARENT, value);
        }
        request
    }
}

fn insert<T>(request: &mut tonic::Request<T>, name: &'static str, value: AsciiMetadataValue) {
    if let Ok(key) = AsciiMetadataKey::from_bytes(name.as_bytes()) {
        request.metadata_mut().insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_where_they_are_wanted() {
        let bearer = Credentials::bearer(|| "w".into());
        let request = bearer.worker_request(());
        assert_eq!(request.metadata().get("authorization").and_then(|value| value.to_str().ok()), Some("Bearer w"));
        let hop = Credentials { header: header::PRINCIPAL, ..bearer };
        let request = hop.request("r", "00-1-2-01", ());
        assert_eq!(request.metadata().get(header::PRINCIPAL).and_then(|value| value.to_str().ok()), Some("r"));
        assert!(request.metadata().get("traceparent").is_some());
        assert!(format!("{request:?}").contains("Sensitive"));
    }
}
