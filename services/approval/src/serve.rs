//! Puts an approval service together and runs it.

use crate::api::Api;
use crate::config::Config;
use runmesh_domain::Error;
use runmesh_domain::principal::Principal;
use runmesh_host::health::Reporter;
use runmesh_host::server::{Policy, Principal as SignedPrincipal};
use runmesh_host::signed::{KeyError, MeshKey, Verifier};
use runmesh_host::{Lifecycle, Server, reflection};
use runmesh_store::{Db, StoreConfig};
use runmesh_wire::pb::approval::approval_service_server::ApprovalServiceServer;
use runmesh_wire::{deadline, descriptors, header, status};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// Why an approval service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Postgres is not there, or is not what it must be.
    #[error("{0}")]
    Part(#[from] Error),
    /// No key, or a bad one.
    #[error("mesh key: {0}")]
    Key(#[from] KeyError),
    /// Neither `mesh_key` nor `mesh_key_file` is set.
    #[error("mesh key: set mesh_key or mesh_key_file")]
    NoKey,
    /// The descriptors do not decode.
    #[error("{0}")]
    Reflection(#[from] reflection::Error),
    /// The listener cannot be used.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Serves on `listener` as a task of `life`. Returns when everything is up; `life` tells when it ends.
///
/// # Errors
/// [`ServeError`]: a part that is needed at start is not there.
pub async fn serve(config: Config, listener: TcpListener, life: Lifecycle, health: Reporter) -> Result<(), ServeError> {
    let key = match (&config.mesh_key, &config.mesh_key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => MeshKey::from_file(file)?,
        (None, None) => return Err(ServeError::NoKey),
    };
    let url = config.postgres_url.expose_secret();
    Db::migrate(url).await?;
    let mut store = StoreConfig::new(url, "approval");
    store.connections = config.postgres_connections;
    let db = Db::connect(&store).await?;
    let address = listener.local_addr()?;
    let verifier = Verifier::new(&key, header::HOP_TYPE, header::AUDIENCE);
    let guard = SignedPrincipal::<Principal>::new(http::HeaderName::from_static(header::PRINCIPAL), verifier);
    let mut routes = Routes::new(ApprovalServiceServer::new(Api::new(db)));
    if config.reflection {
        routes = reflection::routes(routes, &[descriptors::ENCODED])?;
    }
    let policy = Policy { reason: |code| status::reason_of_code(code).name(), deadline: deadline::of };
    let server = Server::builder(config.server.clone()).policy(policy).guard(guard).health(health.clone());
    life.spawn("grpc", server.serve(listener, routes, life.clone()));
    health.set_all_serving();
    tracing::info!(%address, "approval is serving");
    Ok(())
}

/// The names of the services, for a health reporter.
#[must_use]
pub const fn services() -> &'static [&'static str] {
    &["runmesh.approval.v1.ApprovalService"]
}
