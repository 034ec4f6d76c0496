//! Puts the gateway together and serves it. Building fails before anything is served; nothing here knows a method.

use std::io;
use std::sync::Arc;

use runmesh_domain::Reason;
use runmesh_host::health::Reporter;
use runmesh_host::reflection;
use runmesh_host::server::{Policy, Server};
use runmesh_host::upstream::UpstreamError;
use runmesh_host::{Lifecycle, ServerConfig};
use runmesh_wire::{descriptors, status};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::service::Routes;

use crate::admission::Admission;
use crate::config::GatewayConfig;
use crate::edge::Edge;
use crate::forward::Forward;
use crate::identity::Identities;
use crate::upstreams::Upstreams;
use crate::{methods, readiness};

/// Why a gateway could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is missing or makes no sense: restarting does not help.
    #[error("gateway: {0}")]
    Config(String),
    /// An address of a service does not parse.
    #[error("gateway: {0}")]
    Upstream(#[from] UpstreamError),
    /// The descriptors are broken.
    #[error("gateway: {0}")]
    Reflection(#[from] reflection::Error),
    /// The listener cannot be used.
    #[error("gateway: {0}")]
    Listener(#[from] io::Error),
}

impl ServeError {
    /// Whether the configuration is at fault, so that the process exits with [`exit::CONFIG`](runmesh_host::exit::CONFIG).
    #[must_use]
    pub const fn is_config(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Upstream(_))
    }
}

/// Serves on `listener` as a task of `lifecycle`. Returns when everything is up; `lifecycle` tells when it ends. `health` learns
/// what is known of the gateway itself (`""`) and of every public service; show it on the admin port too.
///
/// When the drain begins, calls in progress are finished, and streams end with UNAVAILABLE `DRAINING` within two seconds, so that
/// their callers go on at another replica.
///
/// # Errors
///
/// [`ServeError`]: nothing is served then.
pub async fn serve(
    config: GatewayConfig,
    listener: TcpListener,
    lifecycle: Lifecycle,
    health: Reporter,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let upstreams = Arc::new(Upstreams::new(&config)?);
    let identities = Arc::new(Identities::new(&config)?);
    let routes = routes(&config, Forward::new(Arc::clone(&upstreams), lifecycle.soft().clone()))?;
    let edge = Edge::new(Arc::clone(&identities), Admission::new(config.limits));
    let policy = Policy { reason, knows, deadline: methods::deadline };
    let server = ServerConfig { grpc_web: config.grpc_web, ..config.server };
    let server = Server::builder(server).policy(policy).guard(edge).health(health.clone());

    identities.keep_keys_fresh(&lifecycle);
    readiness::report(health, upstreams, identities, &lifecycle);
    lifecycle.spawn("grpc", server.serve(listener, routes, lifecycle.clone()));
    tracing::info!(%address, dev = config.dev, "gateway is serving");
    Ok(())
}

/// Reflection if wanted; whatever is no route goes to the services behind.
fn routes(config: &GatewayConfig, forward: Forward) -> Result<Routes, reflection::Error> {
    let own = match config.reflection {
        true => reflection::routes(Routes::default(), &[descriptors::ENCODED])?,
        false => Routes::default(),
    };
    Ok(own.into_axum_router().fallback_service(forward).into())
}

fn knows(path: &str) -> bool {
    methods::find(path).is_some()
}

fn reason(code: Code) -> &'static str {
    Reason::name(status::reason_of_code(code))
}
