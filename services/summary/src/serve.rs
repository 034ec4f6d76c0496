//! Puts a summary service together and runs it.

use crate::api::Api;
use crate::config::Config;
use runmesh_domain::principal::Principal;
use runmesh_host::Lifecycle;
use runmesh_host::health::Reporter;
use runmesh_host::server::Policy;
use runmesh_host::start::{self, Hops, StartError};
use runmesh_store::{Db, StoreConfig};
use runmesh_wire::pb::summary::summary_service_server::SummaryServiceServer;
use runmesh_wire::{deadline, descriptors, header, status};
use secrecy::ExposeSecret as _;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// Serves on `listener` as a task of `life`. Returns when everything is up; `life` tells when it ends.
///
/// # Errors
/// [`StartError`]: a part that is needed at start is not there.
pub async fn serve(config: Config, listener: TcpListener, life: Lifecycle, health: Reporter) -> Result<(), StartError> {
    let key = start::mesh_key(config.mesh_key.as_ref(), config.mesh_key_file.as_deref())?;
    let mut store = StoreConfig::new(config.postgres_url.expose_secret(), "summary");
    store.connections = config.postgres_connections;
    store.read_connections = config.postgres_read_connections;
    store.read_timeout = Duration::from_millis(config.postgres_read_timeout_ms);
    // It holds no lease and beats no heart.
    store.heartbeat_connections = 1;
    let db = Db::connect(&store).await.map_err(StartError::part)?;
    let address = listener.local_addr()?;
    let routes = Routes::new(SummaryServiceServer::new(Api::new(db, config.leases)));
    let policy = Policy { reason: status::reason_name_of_code, knows: descriptors::is_method, deadline: deadline::of };
    let hops = Hops { header: header::PRINCIPAL, typ: header::HOP_TYPE, audience: header::AUDIENCE };
    let described = config.reflection.then_some(descriptors::ENCODED);
    let (server, routes) = start::server::<Principal>(config.server, policy, (hops, &key), (routes, described), &health)?;
    life.spawn("grpc", server.serve(listener, routes, life.clone()));
    health.set_all_serving();
    tracing::info!(%address, "summary is serving");
    Ok(())
}

/// The names of the services, for a health reporter.
#[must_use]
pub const fn services() -> &'static [&'static str] {
    &["runmesh.summary.v1.SummaryService"]
}
