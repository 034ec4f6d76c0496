//! Ends streams whose readers take nothing. Flow control stops the polling of an answer that is not read, so whatever ends a
//! stream from within its body (a deadline, the end of credentials, a drain) is never looked at there. This file looks from
//! outside: at the task that drives the stream.
//!
//! A stream is reset when its reader has taken nothing for the write-stall limit, and already [`END_GRACE`] after the moment at
//! which its answer should have ended ([`EndsAt`], or the drain). Dropping the task frees everything that the stream holds: the
//! handler, its seat, the call behind, and its part of the windows.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::EndsAt;
use crate::metrics;

/// How long a reader may take nothing once its stream should have ended. One that reads, however slowly, gets the end itself.
const END_GRACE: Duration = Duration::from_secs(2);

/// Answers are handed on in pieces of this size, so that a slow reader of a large message is seen to take something; also the
/// most that a stalled stream holds beyond its reader's window. The size of a DATA frame, unless the reader asks for more.
const PIECE_BYTES: usize = 16 * 1024;

tokio::task_local! {
    /// The stream that the task drives.
    static FLOW: Flow;
}

/// What the answer of one stream is doing. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Flow(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    uri: Uri,
    ends: Option<Instant>,
    /// How many pieces were handed on.
    pieces: u64,
    /// True from a piece until more is asked for: until then it waits for its reader.
    is_waiting: bool,
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call: says what the current task's stream is about.
    pub(super) fn begin(uri: &Uri) {
        let _without = FLOW.try_with(|flow| *flow.lock() = State { uri: uri.clone(), ..State::default() });
    }

    /// Puts the body of the current task's stream under watch.
    pub(super) fn watched<B>(mut answer: Response<B>) -> Response<Watched<B>> {
        let ends = answer.extensions_mut().remove::<EndsAt>();
        let flow = FLOW.try_with(Clone::clone).unwrap_or_default();
        flow.lock().ends = ends.map(|EndsAt(at)| at);
        answer.map(|inner| Watched { inner, rest: Bytes::new(), flow })
    }

    /// Polls the work of a connection whose streams have no tasks of their own.
    pub(super) fn poll<T>(&self, work: impl FnOnce() -> T) -> T {
        FLOW.sync_scope(self.clone(), work)
    }
}

/// The body of an answer, handed on piece by piece.
pub(super) struct Watched<B> {
    inner: B,
    rest: Bytes,
    flow: Flow,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let polled = Pin::new(&mut this.inner).poll_frame(cx);
            this.flow.lock().is_waiting = false;
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return end,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        let mut state = this.flow.lock();
        state.pieces += 1;
        state.is_waiting = true;
        drop(state);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    /// Over HTTP/1.1 the connection goes on to its next request.
    fn drop(&mut self) {
        self.flow.lock().is_waiting = false;
    }
}

/// Runs the streams of HTTP/2 connections, each as a task that ends when its reader stalls.
#[derive(Clone)]
pub(super) struct Streams(Arc<Limits>);

struct Limits {
    stall: Option<Duration>,
    drain: CancellationToken,
    resets: Counter<u64>,
}

impl Streams {
    /// Resets streams whose readers take nothing for `stall`, and soon after `drain`.
    pub(super) fn new(stall: Option<Duration>, drain: CancellationToken) -> Self {
        let resets = opentelemetry::global::meter("runmesh-host").u64_counter(metrics::SERVER_STREAMS_RESET).build();
        Self(Arc::new(Limits { stall, drain, resets }))
    }

    pub(super) fn watch(&self, flow: Flow) -> Watch {
        Watch { limits: Arc::clone(&self.0), flow, since: None, timer: None, drain: Drain::Unasked }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let flow = Flow::default();
        let watch = self.watch(flow.clone());
        TokioExecutor::new().execute(async move {
            tokio::select! {
                // In this order: whether it waits is known once it was polled.
                biased;
                () = FLOW.scope(flow, stream) => {}
                () = watch.stalled() => {}
            }
        });
    }
}

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Stalled,
    Expired,
    Draining,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Expired => "expired",
            Self::Draining => "draining",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Stalled => "a stream was reset, because its reader has taken nothing for the write-stall limit",
            Self::Expired => "a stream was reset, because its time is over and its reader does not take the end of it",
            Self::Draining => "a stream was reset, because the process drains and its reader does not take the end of it",
        }
    }
}

/// Watches one stream, or a connection with one stream at a time. Belongs into the task that polls it.
pub(super) struct Watch {
    limits: Arc<Limits>,
    flow: Flow,
    /// The piece that waits, and since when.
    since: Option<(u64, Instant)>,
    /// Made when something waits for the first time. May fire too early, never too late.
    timer: Option<Pin<Box<Sleep>>>,
    drain: Drain,
}

/// What is known of the drain: asked for only while something waits.
enum Drain {
    Unasked,
    Awaited(Pin<Box<WaitForCancellationFutureOwned>>),
    Began(Instant),
}

impl Watch {
    /// Ends when the stream is to be reset, which is then counted and logged.
    pub(super) async fn stalled(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    /// To be polled after the stream was, whenever the stream is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.flow.lock().is_waiting {
            return Poll::Pending;
        }
        let began = match self.drain_began(cx) {
            Poll::Ready(began) => Some(began),
            Poll::Pending => None,
        };
        let now = Instant::now();
        let Some((at, cause)) = self.due(now, began) else { return Poll::Pending };
        if !self.is_past(at, cx) {
            return Poll::Pending;
        }
        self.report(cause, now);
        Poll::Ready(())
    }

    /// When the stream is to be reset and why, should its reader take nothing until then. `drain` is when the drain began.
    fn due(&mut self, now: Instant, drain: Option<Instant>) -> Option<(Instant, Cause)> {
        let (piece, ends) = {
            let state = self.flow.lock();
            state.is_waiting.then_some((state.pieces, state.ends))?
        };
        let since = match self.since {
            Some((known, since)) if known == piece => since,
            _ => self.since.insert((piece, now)).1,
        };
        let grace = |end: Instant| end.max(since) + END_GRACE;
        let due = [
            self.limits.stall.map(|limit| (since + limit, Cause::Stalled)),
            ends.map(|ends| (grace(ends), Cause::Expired)),
            drain.map(|began| (grace(began), Cause::Draining)),
        ];
        due.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the drain began; otherwise the task is woken when it does.
    fn drain_began(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        loop {
            match &mut self.drain {
                Drain::Unasked => self.drain = Drain::Awaited(Box::pin(self.limits.drain.clone().cancelled_owned())),
                Drain::Awaited(began) => {
                    std::task::ready!(began.as_mut().poll(cx));
                    self.drain = Drain::Began(Instant::now());
                }
                Drain::Began(at) => return Poll::Ready(*at),
            }
        }
    }

    /// Whether it is later than `at`; otherwise the task is woken then, or before.
    fn is_past(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        // One that fires earlier is left alone: pieces come and go faster than timers should be set.
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }

    fn report(&self, cause: Cause, now: Instant) {
        self.limits.resets.add(1, &[KeyValue::new("cause", cause.name())]);
        let method = self.flow.lock().uri.path().to_owned();
        let waited = self.since.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since));
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(method, waited_ms, "{}", cause.words());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    fn watch(stall: Option<Duration>) -> Watch {
        Streams::new(stall, CancellationToken::new()).watch(Flow::default())
    }

    /// The reader has taken what there was, and another piece waits.
    fn piece(watch: &Watch) {
        let mut state = watch.flow.lock();
        state.pieces += 1;
        state.is_waiting = true;
    }

    #[test]
    fn only_a_piece_that_waits_counts_and_each_for_itself() {
        let (mut watch, start) = (watch(Some(LIMIT)), Instant::now());
        assert_eq!(watch.due(start, None), None, "nothing waits");
        for n in 1..4 {
            let now = start + n * (LIMIT - MOMENT);
            piece(&watch);
            assert_eq!(watch.due(now, None), Some((now + LIMIT, Cause::Stalled)), "a slow reader is a reader");
            assert_eq!(watch.due(now + MOMENT, None), Some((now + LIMIT, Cause::Stalled)), "the same piece still");
        }
        watch.flow.lock().is_waiting = false;
        assert_eq!(watch.due(start + 9 * LIMIT, None), None, "it has taken everything");
    }

    #[test]
    fn after_its_end_a_stream_waits_for_a_moment() {
        let (mut watch, start) = (watch(Some(LIMIT)), Instant::now());
        let ends = start + LIMIT / 2;
        watch.flow.lock().ends = Some(ends);
        piece(&watch);
        assert_eq!(watch.due(start, None), Some((ends + END_GRACE, Cause::Expired)));
        piece(&watch);
        let late = ends + MOMENT;
        assert_eq!(watch.due(late, None), Some((late + END_GRACE, Cause::Expired)), "it reads on, and is about to see its end");
    }

    #[test]
    fn a_drain_counts_from_its_beginning() {
        let (mut watch, start) = (watch(None), Instant::now());
        piece(&watch);
        assert_eq!(watch.due(start, None), None, "without a limit it may wait for as long as it likes");
        let began = start + LIMIT;
        assert_eq!(watch.due(began, Some(began)), Some((began + END_GRACE, Cause::Draining)));
    }

    #[tokio::test]
    async fn a_large_frame_is_handed_on_in_pieces() {
        let whole = Bytes::from(vec![7; 3 * PIECE_BYTES + 1]);
        let mut body = Flow::watched(Response::new(http_body_util::Full::new(whole.clone()))).into_body();
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let piece = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
            assert_eq!(body.is_end_stream(), seen.len() + piece.len() == whole.len());
            sizes.push(piece.len());
            seen.extend_from_slice(&piece);
        }
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 1]);
        assert_eq!(seen, whole);
    }
}
