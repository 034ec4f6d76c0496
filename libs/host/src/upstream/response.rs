//! The body of an answer: a connection that breaks in the middle becomes UNAVAILABLE trailers, and a backend that broke one is
//! ejected. So does one whose backend is given up because it stands still. Holds the call's place until the end. A caller that goes
//! away before it may know something: unless the backend has just answered somebody, it is asked for a sign of life.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tonic::body::Body;

use super::failure::Failure;
use super::lane::Ticket;
use super::pool::Pool;
use crate::status;

/// `answer` with a body that always ends in a status.
pub(super) fn guarded(answer: Response<Body>, pool: Arc<Pool>, ticket: Ticket) -> Response<Body> {
    if status::code_of(answer.headers()).is_some() {
        return answer; // only a status: the call is over
    }
    answer.map(|inner| Body::new(Guarded { inner, open: Some(Open { pool, ticket, given_up: None }) }))
}

/// What is kept until the trailers have passed.
struct Open {
    pool: Arc<Pool>,
    ticket: Ticket,
    /// Made when the body has to wait for the first time.
    given_up: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Open {
    /// Whether the backend is given up; otherwise the task is woken when it is.
    fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        let token = self.ticket.given_up();
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        given_up.as_mut().poll(cx).is_ready()
    }
}

struct Guarded {
    inner: Body,
    open: Option<Open>,
}

impl Guarded {
    /// The trailers of a call that ends by `failure`.
    fn end(&mut self, failure: Failure) -> Frame<Bytes> {
        if let Some(Open { pool, ticket, .. }) = self.open.take()
            && failure == Failure::Connection
        {
            pool.failed(&ticket.backend);
        }
        Frame::trailers(status::trailers(&failure.status()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(Open { pool, ticket, .. }) = &self.open {
            pool.suspect(&ticket.backend);
        }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if open.is_given_up(cx) => return Poll::Ready(Some(Ok(this.end(Failure::Silent)))),
            Poll::Pending => return Poll::Pending,
        };
        let failure = match frame {
            Some(Ok(frame)) => {
                open.ticket.backend.answered();
                if frame.is_trailers() {
                    this.open = None;
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => Failure::of(&error),
            None => Failure::Reset,
        };
        Poll::Ready(Some(Ok(this.end(failure))))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
