//! A streaming request body that can be sent a second time as long as nothing of it was read.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Keeps a body while attempts borrow it, one after the other.
pub(super) struct Replay(Arc<Kept>);

struct Kept {
    body: Mutex<Body>,
    was_read: AtomicBool,
}

impl Replay {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Kept { body: Mutex::new(body), was_read: AtomicBool::new(false) }))
    }

    /// The body for an attempt. The one before must have ended.
    pub(super) fn body(&self) -> Body {
        Body::new(Borrowed(Arc::clone(&self.0)))
    }

    pub(super) fn was_read(&self) -> bool {
        self.0.was_read.load(Ordering::Acquire)
    }
}

struct Borrowed(Arc<Kept>);

impl HttpBody for Borrowed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut body = self.0.body.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        self.0.was_read.store(true, Ordering::Release);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
