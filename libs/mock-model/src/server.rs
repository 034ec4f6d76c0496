//! The routes, and the loop that accepts connections and owns them.
//!
//! It speaks HTTP/1.1 and HTTP/2 without TLS. Stopping drops what is open: a stream that is cut by a stopping model is
//! what its callers must be able to stand anyway.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::state::Shared;
use crate::{chat, failure, tools};

/// Open connections: one for each of ten thousand live runs, with room.
const CONNECTIONS_MAX: usize = 16_384;
/// A request body: the longest context with inline files.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Wait after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves the mock model on `listener` until `shutdown` completes, then drops every open connection.
///
/// # Errors
/// None today: a failed accept is logged and tried again.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    // Nobody can read a log of calls here, so none is kept.
    run(listener, shutdown, Arc::new(Shared::new(0))).await;
    Ok(())
}

/// Accepts and serves connections until `shutdown` completes.
pub(crate) async fn run(listener: TcpListener, shutdown: impl Future<Output = ()>, shared: Arc<Shared>) {
    let router = router(shared);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, router.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

fn router(shared: Arc<Shared>) -> Router {
    let model = Router::new().route("/chat/completions", post(chat::completions)).route("/models", get(chat::models));
    Router::new()
        .merge(model.clone())
        .nest("/v1", model)
        .nest("/tools", tools::routes())
        .fallback(failure::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn connection(socket: TcpStream, router: Router) {
    // Chunks are small and their timing is what callers measure.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "nodelay not set");
    }
    let server = Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(router);
    if let Err(error) = server.serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!(%error, "connection ended early");
    }
}
