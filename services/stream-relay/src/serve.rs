//! Puts a stream-relay together and runs it.

use crate::api::Api;
use crate::config::Config;
use crate::hub::Hub;
use crate::limits;
use crate::relay::Relay;
use crate::seats::Seats;
use crate::thread_hub::{Looks, ThreadHub};
use crate::truth::Truth;
use runmesh_bus::{Bus, BusConfig};
use runmesh_domain::Error;
use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_domain::principal::Principal;
use runmesh_host::Lifecycle;
use runmesh_host::health::Reporter;
use runmesh_host::server::Policy;
use runmesh_host::start::{self, Hops, StartError};
use runmesh_wire::pb::relay::stream_service_server::StreamServiceServer;
use runmesh_wire::{deadline, descriptors, header, status};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

/// Serves on `listener` as a task of `life`. Returns when everything is up; `life` tells when it ends.
///
/// # Errors
/// [`StartError`]: a part that is needed at start is not there.
pub async fn serve(config: Config, listener: TcpListener, life: Lifecycle, health: Reporter) -> Result<(), StartError> {
    let key = start::mesh_key(config.mesh_key.as_ref(), config.mesh_key_file.as_deref())?;
    let relay = connect(&config, &life).await.map_err(StartError::part)?;
    let address = listener.local_addr()?;
    let service = StreamServiceServer::new(Api::new(relay.clone())).max_decoding_message_size(STREAM_MESSAGE_BYTES_MAX);
    let policy = Policy { reason: status::reason_name_of_code, knows: descriptors::is_method, deadline: deadline::of };
    let hops = Hops { header: header::PRINCIPAL, typ: header::HOP_TYPE, audience: header::AUDIENCE };
    let routes = (Routes::new(service), config.reflection.then_some(descriptors::ENCODED));
    let (server, routes) = start::server::<Principal>(config.server.clone(), policy, (hops, &key), routes, &health)?;
    life.spawn("grpc", server.serve(listener, routes, life.clone()));
    start_tasks(relay, Duration::from_millis(config.thread_look_ms.max(1)), &life);
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
    let bus = Bus::connect(BusConfig::new(&config.nats_url, "stream-relay").choosing(&config.bus));
    let (truth, bus) = futures::try_join!(Truth::connect(config), bus)?;
    bus.ensure().await?;
    let tasks = TaskTracker::new();
    let hub = Hub::new(bus.clone(), tasks.clone(), life.soft().clone());
    let seats = Seats::new(config.viewers_max, config.viewers_per_user_max);
    let threads = ThreadHub::new(bus.clone(), tasks.clone());
    Ok(Relay { bus, truth, hub, threads, seats, life: life.clone(), tasks })
}

fn start_tasks(relay: Relay, thread_look: Duration, life: &Lifecycle) {
    let (tasks, soft) = (relay.tasks.clone(), life.soft().clone());
    life.spawn("streams", async move {
        soft.cancelled().await;
        tasks.close();
        tasks.wait().await;
        Ok::<(), Infallible>(())
    });
    let looks = Looks::new(relay.threads.clone(), relay.bus.clone(), relay.truth.clone(), thread_look);
    let soft = life.soft().clone();
    life.spawn("thread-looks", async move {
        looks.run(soft).await;
        Ok::<(), Infallible>(())
    });
    life.spawn_loop("idle-probe", limits::PROBE_PERIOD, move || {
        let relay = relay.clone();
        async move { relay.probe().await }
    });
}
