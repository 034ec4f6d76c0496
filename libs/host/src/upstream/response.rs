//! The body of an answer: a connection that breaks in the middle becomes UNAVAILABLE trailers, and a backend that broke one is
//! ejected. Holds the call's place until the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
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
    answer.map(|inner| Body::new(Guarded { inner, open: Some(Open { pool, ticket }) }))
}

/// What is kept until the trailers have passed.
struct Open {
    pool: Arc<Pool>,
    ticket: Ticket,
}

struct Guarded {
    inner: Body,
    open: Option<Open>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.open.is_none() {
            return Poll::Ready(None);
        }
        let failure = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    this.open = None;
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => Failure::of(&error),
            None => Failure::Reset,
        };
        if let Some(Open { pool, ticket }) = this.open.take()
            && failure == Failure::Connection
        {
            pool.failed(&ticket.backend);
        }
        Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&failure.status())))))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
