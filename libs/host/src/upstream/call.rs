//! One call: pick, send, and once more elsewhere when nothing came back and nothing can have been lost.
//!
//! A backend that is slow and one that stands still look the same to a call that waits. So a call that has waited for [`SILENCE`],
//! while the backend answered nobody else either, has it probed, and goes on waiting. Only a backend that does not answer the probe
//! is given up: it is ejected until it answers one, and every call on it ends at once and is tried elsewhere as if its connection
//! had broken. A caller's own deadline, however short, ejects nobody.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use tonic::body::Body;
use tonic::transport::Error as TransportError;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::backend::Backend;
use super::config::Mode;
use super::failure::Failure;
use super::lane::Ticket;
use super::pool::Pool;
use super::request::Replay;
use super::response;
use crate::deadline::Deadline;
use crate::status::{self, MESSAGE_TOO_LARGE, OVERLOADED};

/// How long a call waits for the first sign of its answer before its backend is asked for a sign of life.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

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
        Err(Failure::Reset | Failure::Connection | Failure::Silent) => {
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
        Err(Failure::Connection | Failure::Silent) if !replay.was_read() => {
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
    match answer(pool, &ticket, request).await {
        Some(Ok(answer)) => {
            backend.succeeded();
            Ok(Ok(response::guarded(answer, Arc::clone(pool), ticket)))
        }
        Some(Err(error)) => {
            let failure = Failure::of(&error);
            tracing::debug!(upstream = pool.config.name, backend = backend.address, ?failure, error = ?error, "no answer");
            if failure == Failure::Connection {
                pool.failed(backend);
            }
            Ok(Err(failure))
        }
        None => Ok(Err(Failure::Silent)),
    }
}

/// The beginning of the answer; `None` when the backend was given up meanwhile.
async fn answer(pool: &Arc<Pool>, ticket: &Ticket, request: Request<Body>) -> Option<Result<Response<Body>, TransportError>> {
    let mut answer = std::pin::pin!(ticket.channel().oneshot(request));
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = ticket.given_up().cancelled() => return None,
            () = tokio::time::sleep(SILENCE) => pool.suspect(&ticket.backend),
        }
    }
}
