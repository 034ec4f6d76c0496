//! The body of a stream's answer: passes the service's bytes on until the service ends it, or the gateway has to: the request
//! went wrong, the caller's credentials are over, or the process drains.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use runmesh_domain::Refusal;
use runmesh_host::server::EndsAt;
use runmesh_wire::status;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::request::RequestHandle;

/// How long services get to end their streams by themselves, with a cursor, when everything drains at once.
const DRAIN_PAUSE: Duration = Duration::from_secs(1);
/// Streams end spread over so many milliseconds more, so that their callers do not all come back at once.
const DRAIN_SPREAD_MS: u64 = 1_000;

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// `answer`, ended early by a refusal of the request, by `ends`, and soon after `drain`.
pub(super) fn bounded(
    mut answer: Response<Body>,
    request: RequestHandle,
    ends: Option<Instant>,
    drain: CancellationToken,
) -> Response<Body> {
    if runmesh_host::status::code_of(answer.headers()).is_some() {
        return answer; // only a status: the call is over
    }
    if let Some(at) = ends {
        // A caller that reads nothing keeps this body from being asked, and so from ending by itself.
        answer.extensions_mut().insert(EndsAt(at));
    }
    answer.map(|inner| Body::new(Bounded { inner: Some(inner), ending: Box::pin(ending(request, ends, drain)) }))
}

/// Why the gateway ends the stream by itself. The request ends with it.
async fn ending(mut request: RequestHandle, ends: Option<Instant>, drain: CancellationToken) -> Status {
    let over = async {
        match ends {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let drained = async {
        drain.cancelled().await;
        let spread = STREAMS.fetch_add(1, Ordering::Relaxed) % DRAIN_SPREAD_MS;
        tokio::time::sleep(DRAIN_PAUSE + Duration::from_millis(spread)).await;
    };
    tokio::select! {
        refusal = request.refused() => refusal,
        () = over => status::of_refusal(&Refusal::TokenExpired),
        () = drained => status::of_refusal(&Refusal::Draining),
    }
}

struct Bounded {
    /// Gone after the end.
    inner: Option<Body>,
    ending: Pin<Box<dyn Future<Output = Status> + Send>>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let frame = Pin::new(inner).poll_frame(cx);
        let end = End::of(&frame);
        if end == End::Good {
            this.inner = None;
            return frame;
        }
        // After the inner body: the service fails because of a bad request, and must not hide what was bad about it.
        if let Poll::Ready(status) = this.ending.as_mut().poll(cx) {
            // Dropping the inner body cancels the call behind.
            this.inner = None;
            return Poll::Ready(Some(Ok(Frame::trailers(runmesh_host::status::trailers(&status)))));
        }
        if end == End::Bad {
            this.inner = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Whether the service has ended its stream.
#[derive(PartialEq)]
enum End {
    NotYet,
    /// As it wanted to.
    Good,
    /// With a failure, or without a word.
    Bad,
}

impl End {
    fn of(frame: &Poll<Option<Result<Frame<Bytes>, Status>>>) -> Self {
        match frame {
            Poll::Pending => Self::NotYet,
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                None => Self::NotYet,
                Some(trailers) if runmesh_host::status::code_of(trailers) == Some(Code::Ok) => Self::Good,
                Some(_) => Self::Bad,
            },
            Poll::Ready(Some(Err(_)) | None) => Self::Bad,
        }
    }
}
