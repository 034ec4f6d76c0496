//! The operators' port: `/livez`, `/readyz`, `/metrics`, `/version`, over plain HTTP on a listener of its own. Never exposed to
//! callers and never changes anything.

use std::io;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::health::Reporter;
use crate::telemetry::{BuildInfo, Metrics};

/// What the port shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Readiness: 200 while `""` serves.
    pub health: Reporter,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// Name and version.
    pub build: BuildInfo,
}

/// The routes, for processes that serve them beside something else.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(|State(admin): State<Admin>| async move { Json(admin.build) }))
        .with_state(admin)
}

/// Serves the port until it is dropped. Run it by [`Lifecycle::spawn_aside`](crate::Lifecycle::spawn_aside): an operator wants
/// to see the drain, and the drain must not wait for an operator.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(listener: TcpListener, admin: Admin) -> io::Result<()> {
    axum::serve(listener, router(admin)).await
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.health.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be shown");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], "metrics cannot be shown\n".to_owned())
        }
    }
}
