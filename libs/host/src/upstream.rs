//! Calls another service: picks a backend, leaves out those that fail, tries once more where that is safe, and answers outages
//! as UNAVAILABLE, in the middle of a stream too. A backend that takes calls and stands still costs no more than a dead one. Never decodes a message: generated clients and the gateway's byte forwarding
//! use the same type.
//!
//! Long streams get an [`Upstream`] of their own ([`UpstreamConfig::streaming`]): on a connection at the peer's stream limit
//! further calls would wait silently.

mod backend;
mod call;
mod config;
mod failure;
mod lane;
mod maintain;
mod ping;
mod pool;
mod request;
mod response;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tower::Service;

pub use config::{Mode, UpstreamConfig, UpstreamError};

use pool::Pool;

/// Pause between looks at a condition of [`Upstream::wait_ready`].
const READY_POLL: Duration = Duration::from_millis(20);

/// A service behind one or more addresses. Clones share connections and knowledge.
#[derive(Clone)]
pub struct Upstream {
    pool: Arc<Pool>,
    /// Ends with the last clone.
    _maintenance: Arc<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.pool.config.name).finish_non_exhaustive()
    }
}

impl Upstream {
    /// An upstream over the addresses of `config`. Connects when first used; a task of its own looks after ejected backends and
    /// names. Call it inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no address, or one that does not parse.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        let pool = Arc::new(Pool::new(config)?);
        let maintenance = tokio::spawn(maintain::run(Arc::downgrade(&pool), Arc::clone(&pool.wake)));
        Ok(Self { pool, _maintenance: Arc::new(AbortOnDropHandle::new(maintenance)) })
    }

    /// Whether at least one backend answered when last asked.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.pool.ready()
    }

    /// Waits until [`Upstream::ready`], at most `time`. The result is whether it became so.
    pub async fn wait_ready(&self, time: Duration) -> bool {
        let ready = async {
            while !self.ready() {
                tokio::time::sleep(READY_POLL).await;
            }
        };
        tokio::time::timeout(time, ready).await.is_ok()
    }
}

impl<B> Service<Request<B>> for Upstream
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        crate::propagate::inject(&mut request);
        // A call that came in over HTTP/1.1 (gRPC-Web) goes on over HTTP/2, which knows no such headers.
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(http::header::HOST);
        request.headers_mut().remove(http::header::CONNECTION);
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { Ok(call::run(pool, request).await) })
    }
}
