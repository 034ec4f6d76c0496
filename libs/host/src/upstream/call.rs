//! One call: pick, send, and once more elsewhere when nothing came back and nothing can have been lost.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::backend::Backend;
use super::config::Mode;
use super::failure::Failure;
use super::pool::Pool;
use super::request::Replay;
use super::response;
use crate::deadline::Deadline;
use crate::status::{self, MESSAGE_TOO_LARGE, OVERLOADED};

/// Answers `request`. Failures are answers too: this never errs.
pub(super) async fn run(pool: Arc<Pool>, request: Request<Body>) -> Response<Body> {
    let deadline = request.extensions().get::<Deadline>().copied();
    let work = async {
        match pool.config.mode {
            Mode::Unary => unary(&pool, request).await,
            Mode::Streaming => streaming(&pool, request).await,
        }
    };
    let outcome = match deadline {
        // The channel knows the time-out too, but not while it connects.
        Some(Deadline(at)) => tokio::time::timeout_at(at, work).await.unwrap_or_else(|_| Err(Failure::Timeout.status())),
        None => work.await,
    };
    outcome.unwrap_or_else(Status::into_http)
}

async fn unary(pool: &Arc<Pool>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, pool.config.request_bytes_max).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            // Not a matter of load: it is too large tomorrow too.
            return Err(status::with_reason(Code::InvalidArgument, "request is larger than the limit", MESSAGE_TOO_LARGE));
        }
        Err(_) => return Err(Status::cancelled("request was not finished")),
    };
    let again = |parts: &Parts| copy(parts, Body::new(Full::new(body.clone())));
    let first = pick(pool, None).await?;
    match send(pool, &first, again(&parts)).await? {
        Ok(answer) => Ok(answer),
        Err(Failure::Timeout) => Err(Failure::Timeout.status()),
        Err(Failure::Reset | Failure::Connection) => {
            pool.retries.add(1, &pool.labels);
            let second = pick(pool, Some(&first)).await?;
            send(pool, &second, again(&parts)).await?.map_err(Failure::status)
        }
    }
}

async fn streaming(pool: &Arc<Pool>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    let replay = Replay::new(body);
    let first = pick(pool, None).await?;
    match send(pool, &first, copy(&parts, replay.body())).await? {
        Ok(answer) => Ok(answer),
        // Nobody has seen a byte of it, so nobody can have acted on it.
        Err(Failure::Connection) if !replay.was_read() => {
            pool.retries.add(1, &pool.labels);
            let second = pick(pool, Some(&first)).await?;
            send(pool, &second, copy(&parts, replay.body())).await?.map_err(Failure::status)
        }
        Err(failure) => Err(failure.status()),
    }
}

/// The request again, with `body`. Extensions are left behind: they are of this process.
fn copy(parts: &Parts, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    request
}

/// The next backend. While no address of a name is known yet, waits for the first look-up as long as for a connection.
async fn pick(pool: &Arc<Pool>, avoid: Option<&Arc<Backend>>) -> Result<Arc<Backend>, Status> {
    if let Some(backend) = pool.pick(avoid) {
        return Ok(backend);
    }
    let known = async {
        loop {
            tokio::time::sleep(super::READY_POLL).await;
            if let Some(backend) = pool.pick(avoid) {
                return backend;
            }
        }
    };
    let waited = tokio::time::timeout(pool.config.connect_timeout, known).await;
    waited.map_err(|_| Status::unavailable("no backend is known"))
}

/// Sends to one backend. The outer error is final; the inner one may be tried elsewhere.
async fn send(
    pool: &Arc<Pool>,
    backend: &Arc<Backend>,
    request: Request<Body>,
) -> Result<Result<Response<Body>, Failure>, Status> {
    let Some(ticket) = backend.enter(&pool.config) else {
        return Err(status::with_reason(Code::ResourceExhausted, "all connections are full", OVERLOADED));
    };
    match ticket.channel().oneshot(request).await {
        Ok(answer) => {
            backend.succeeded();
            Ok(Ok(response::guarded(answer, Arc::clone(pool), ticket)))
        }
        Err(error) => {
            let failure = Failure::of(&error);
            tracing::debug!(upstream = pool.config.name, backend = backend.address, ?failure, error = ?error, "no answer");
            if failure == Failure::Connection {
                pool.failed(backend);
            }
            Ok(Err(failure))
        }
    }
}
