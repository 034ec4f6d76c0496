//! Puts a stream-relay together and runs it.

use crate::api::Api;
use crate::config::Config;
use crate::hub::Hub;
use crate::limits;
use crate::relay::Relay;
use crate::seats::Seats;
use crate::truth::Truth;
use runmesh_bus::{Bus, BusConfig};
use runmesh_domain::Error;
use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_domain::principal::Principal;
use runmesh_host::health::Reporter;
use runmesh_host::server::{Policy, Principal as SignedPrincipal};
use runmesh_host::signed::{KeyError, MeshKey, Verifier};
use runmesh_host::{Lifecycle, Server, reflection};
use runmesh_wire::pb::stream::stream_service_server::StreamServiceServer;
use runmesh_wire::{deadline, descriptors, header, status};
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Postgres or NATS is not there, or is not what it must be.
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
    let relay = connect(&config, &life).await?;
    let address = listener.local_addr()?;
    let verifier = Verifier::new(&key, header::HOP_TYPE, header::AUDIENCE);
    let guard = SignedPrincipal::<Principal>::new(http::HeaderName::from_static(header::PRINCIPAL), verifier);
    let service = StreamServiceServer::new(Api::new(relay.clone())).max_decoding_message_size(STREAM_MESSAGE_BYTES_MAX);
    let mut routes = Routes::new(service);
    if config.reflection {
        routes = reflection::routes(routes, &[descriptors::ENCODED])?;
    }
    let policy = Policy { reason: |code| status::reason_of_code(code).name(), deadline: deadline::of };
    let server = Server::builder(config.server.clone()).policy(policy).guard(guard).health(health.clone());
    life.spawn("grpc", server.serve(listener, routes, life.clone()));
    start_tasks(relay, &life);
    health.set_all_serving();
    tracing::info!(%address, "stream-relay is serving");
    Ok(())
}

/// The names of the services, for a health reporter.
#[must_use]
pub const fn services() -> &'static [&'static str] {
    &["runmesh.stream.v1.StreamService"]
}

async fn connect(config: &Config, life: &Lifecycle) -> Result<Relay, Error> {
    let bus = Bus::connect(BusConfig::new(&config.nats_url, "stream-relay"));
    let (truth, bus) = futures::try_join!(Truth::connect(config), bus)?;
    bus.ensure().await?;
    let tasks = TaskTracker::new();
    let hub = Hub::new(bus.clone(), tasks.clone(), life.soft().clone());
    let seats = Seats::new(config.viewers_max, config.viewers_per_user_max);
    Ok(Relay { bus, truth, hub, seats, life: life.clone(), tasks })
}

fn start_tasks(relay: Relay, life: &Lifecycle) {
    let (tasks, soft) = (relay.tasks.clone(), life.soft().clone());
    life.spawn("streams", async move {
        soft.cancelled().await;
        tasks.close();
        tasks.wait().await;
        Ok::<(), Infallible>(())
    });
    life.spawn_loop("idle-probe", limits::PROBE_PERIOD, move || {
        let relay = relay.clone();
        async move { relay.probe().await }
    });
}
