//! Accepts connections until told to stop, then waits for the last of them. Owns every connection's task.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::config::ServerConfig;
use super::connection::{self, Connection, Ends};
use super::infrastructure::OfConnection;
use super::stall::Streams;
use crate::health::Reporter;
use crate::lifecycle::Lifecycle;

/// Pause after a failed accept, which is nearly always a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The order of a shutdown: health first, then the listener, then the connections.
pub(super) struct Shutdown {
    lifecycle: Lifecycle,
    health: Option<Reporter>,
    delay: Duration,
}

impl Shutdown {
    pub(super) fn new(lifecycle: Lifecycle, health: Option<Reporter>, delay: Duration) -> Self {
        Self { lifecycle, health, delay }
    }

    /// Ends when no connection may be accepted any more.
    async fn announced(&self) {
        self.lifecycle.soft().cancelled().await;
        if let Some(health) = &self.health {
            health.drain();
        }
        // New callers are still served meanwhile: a balancer needs time to see NOT_SERVING.
        self.lifecycle.hard().run_until_cancelled(tokio::time::sleep(self.delay)).await;
    }
}

/// Serves `service` on `listener`. Ends when the shutdown is complete.
pub(super) async fn run<S, RB>(listener: TcpListener, service: S, config: &ServerConfig, shutdown: Shutdown) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    RB: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    RB::Error: Into<BoxError>,
{
    let connections = TaskTracker::new();
    let stop = CancellationToken::new();
    // Even when this future is dropped (the hard token, a test), no connection outlives it.
    let _on_drop = stop.clone().drop_guard();
    let ends = Ends {
        stop: stop.clone(),
        hard: shutdown.lifecycle.hard().clone(),
        age: config.max_connection_age,
        age_grace: config.max_connection_age_grace,
    };
    let streams = Streams::new(config.write_stall_limit, shutdown.lifecycle.soft().clone());
    let builder = connection::builder(config, streams.clone());
    let room = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));

    {
        let mut announced = std::pin::pin!(shutdown.announced());
        loop {
            let (stream, place) = tokio::select! {
                biased;
                () = &mut announced => break,
                accepted = accept(&listener, &room) => accepted?,
            };
            let connection = Connection::new(stream, service.clone(), place, OfConnection::new(config));
            // The tracker owns the task; the handle is of no further use.
            drop(connections.spawn(connection.drive(builder.clone(), streams.clone(), ends.clone())));
        }
    }

    drop(listener);
    if let Some(health) = &shutdown.health {
        health.close();
    }
    stop.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The next connection and its place. Failures of single accepts are waited out; only a want of the semaphore is an error.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, connection::Place)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, connection::Place::new(permit))),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
