//! One accepted connection: HTTP/2 settings, its age, and its three ways to end (the peer, GOAWAY, the hard token).

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::Map;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use opentelemetry::metrics::UpDownCounter;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::Service;

use super::config::ServerConfig;
use super::http2::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, PENDING_RESETS_MAX, STREAM_WINDOW_BYTES, Windows};
use super::infrastructure::OfConnection;
use super::stall::{Flow, Streams, Watched};
use crate::{metrics, random};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// HTTP settings of all connections of a server, whose streams are run by `streams`.
pub(super) fn builder(config: &ServerConfig, streams: Streams) -> Builder<Streams> {
    let windows = Windows::of(STREAM_WINDOW_BYTES, config.max_concurrent_streams);
    let mut builder = Builder::new(streams);
    if !config.grpc_web {
        builder = builder.http2_only();
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_concurrent_streams(windows.streams)
        .max_header_list_size(config.max_header_list_size)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    // Without a timer a half-open HTTP/1.1 peer could hold its place for ever.
    builder.http1().timer(TokioTimer::new());
    builder
}

/// What ends a connection besides its peer.
#[derive(Clone)]
pub(super) struct Ends {
    /// No new streams: GOAWAY.
    pub(super) stop: CancellationToken,
    /// Close now.
    pub(super) hard: CancellationToken,
    pub(super) age: Option<Duration>,
    pub(super) age_grace: Option<Duration>,
}

/// The place of a connection among those allowed, and in the metric.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: UpDownCounter<i64>,
}

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        let open = opentelemetry::global::meter("runmesh-host").i64_up_down_counter(metrics::SERVER_CONNECTIONS).build();
        open.add(1, &[]);
        Self { _permit: permit, open }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.add(-1, &[]);
    }
}

/// An accepted connection and what answers its requests.
pub(super) struct Connection<S> {
    stream: TcpStream,
    service: WithPeer<S>,
    _place: Place,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: TcpStream, service: S, place: Place, room: OfConnection) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "tcp_nodelay refused");
        }
        let peer = stream.connect_info();
        Self { stream, service: WithPeer { inner: service, peer, room }, _place: place }
    }
}

impl<S, RB> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    RB: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    RB::Error: Into<BoxError>,
{
    /// Serves the connection to its end. Streams of HTTP/2 have tasks of their own; over HTTP/1.1 the connection itself drives its
    /// one answer at a time, and ends when that one's reader stalls.
    pub(super) async fn drive(self, builder: Builder<Streams>, streams: Streams, ends: Ends) {
        let Self { stream, service, _place } = self;
        let flow = Flow::default();
        let mut watch = streams.watch(flow.clone());
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        let mut old = pin!(after(ends.age.map(random::jittered)));
        let mut too_old = pin!(after(None));
        let mut going_away = false;
        loop {
            tokio::select! {
                // The connection first: whether its answer waits is known once it was polled.
                biased;
                served = poll_fn(|cx| flow.poll(|| serving.as_mut().poll(cx))) => {
                    if let Err(error) = served {
                        tracing::debug!(error = %*error, "connection failed");
                    }
                    return;
                }
                () = ends.hard.cancelled() => return,
                () = poll_fn(|cx| watch.poll(cx)) => return,
                () = ends.stop.cancelled(), if !going_away => {
                    going_away = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = &mut old, if !going_away => {
                    going_away = true;
                    too_old.set(after(ends.age_grace));
                    serving.as_mut().graceful_shutdown();
                }
                () = &mut too_old => return,
            }
        }
    }
}

/// Ends after `time`; never when there is none.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Says who is at the other end, in the form `tonic::Request::remote_addr` reads, and what is open on the connection; watches
/// whether answers are read.
#[derive(Clone)]
struct WithPeer<S> {
    inner: S,
    peer: TcpConnectInfo,
    room: OfConnection,
}

impl<S, B, RB> Service<Request<B>> for WithPeer<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = Response<Watched<RB>>;
    type Error = S::Error;
    type Future = Map<S::Future, fn(Result<Response<RB>, S::Error>) -> Result<Response<Watched<RB>>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        Flow::begin(request.uri());
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(self.room.clone());
        self.inner.call(request).map(|answered| answered.map(Flow::watched))
    }
}
