//! Puts a run-orchestrator together and runs it.

use crate::config::{Config, Role};
use crate::founding::Founding;
use crate::marks::Marks;
use crate::mesh::Mesh;
use crate::ready::Ready;
use crate::{api, builtin, dispatch, sweeper};
use runmesh_bus::{Bus, BusConfig};
use runmesh_domain::principal::Principal;
use runmesh_host::health::Reporter;
use runmesh_host::server::Policy;
use runmesh_host::signed::{MeshKey, Signer};
use runmesh_host::start::{self, Hops, StartError};
use runmesh_host::{Lifecycle, Server};
use runmesh_store::{Db, StoreConfig};
use runmesh_wire::{deadline, descriptors, header, status};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

/// How long calls that are under way may take once the worker is done.
const API_GRACE: Duration = Duration::from_secs(10);

/// Serves on `listener` as a task of `life`. Returns when everything is up; `life` tells when it ends.
///
/// # Errors
/// [`StartError`]: a part that is needed at start is not there.
pub async fn serve(config: Config, listener: TcpListener, life: Lifecycle, health: Reporter) -> Result<(), StartError> {
    let key = start::mesh_key(config.mesh_key.as_ref(), config.mesh_key_file.as_deref())?;
    let founding = Arc::new(Founding::new(&config)?);
    let mesh = connect(&config, founding, &key, &life).await.map_err(StartError::part)?;
    mesh.make_orgs(&config.orgs).await.map_err(StartError::part)?;
    let address = listener.local_addr()?;
    let policy = Policy { reason: status::reason_name_of_code, knows: descriptors::is_method, deadline: deadline::of };
    let hops = Hops { header: header::PRINCIPAL, typ: header::HOP_TYPE, audience: header::AUDIENCE };
    let routes = (api::routes(&mesh), config.reflection.then_some(descriptors::ENCODED));
    let (server, routes) = start::server::<Principal>(config.server.clone(), policy, (hops, &key), routes, &health)?;
    let worker_done = CancellationToken::new();
    serve_until_worker_is_done(server, listener, routes, &life, (health.clone(), worker_done.clone()));
    mesh.marks.start(mesh.db.clone(), &life);
    sweeper::start(&mesh, &life);
    dispatch::start(&mesh, &life);
    builtin::hints(&mesh, &life);
    if config.role != Role::Api {
        builtin::start(&config, &key, address, &life, worker_done)?;
    } else {
        worker_done.cancel();
    }
    let tasks = mesh.tasks.clone();
    let soft = life.soft().clone();
    life.spawn("commands", async move {
        soft.cancelled().await;
        tasks.close();
        tasks.wait().await;
        Ok::<(), std::convert::Infallible>(())
    });
    health.set_all_serving();
    tracing::info!(%address, role = ?config.role, "run-orchestrator is serving");
    Ok(())
}

/// The API outlives the built-in worker, which gives its runs back through it: the server's own drain begins when the worker
/// is done.
fn serve_until_worker_is_done(
    server: Server,
    listener: TcpListener,
    routes: Routes,
    life: &Lifecycle,
    (health, worker_done): (Reporter, CancellationToken),
) {
    let own = Lifecycle::new();
    own.spawn("grpc", server.serve(listener, routes, own.clone()));
    let soft = life.soft().clone();
    life.spawn("grpc", async move {
        tokio::select! {
            () = soft.cancelled() => {}
            ended = own.run(Duration::ZERO) => return ended,
        }
        health.drain();
        worker_done.cancelled().await;
        own.drain(API_GRACE).await;
        own.fault().map_or(Ok(()), Err)
    });
}

/// The names of the services, for a health reporter.
#[must_use]
pub fn services() -> &'static [&'static str] {
    api::SERVICES
}

async fn connect(config: &Config, founding: Arc<Founding>, key: &MeshKey, life: &Lifecycle) -> runmesh_domain::Result<Mesh> {
    let mut store = StoreConfig::new(config.postgres_url.expose_secret(), "run-orchestrator");
    store.connections = config.postgres_connections;
    store.read_connections = config.postgres_read_connections;
    store.read_timeout = Duration::from_millis(config.postgres_read_timeout_ms);
    let (db, bus) = futures::try_join!(Db::connect(&store), Bus::connect(BusConfig::new(&config.nats_url, "run-orchestrator")))?;
    bus.ensure().await?;
    Ok(Mesh {
        db,
        bus,
        run_tokens: Signer::new(key, header::RUN_TYPE, header::AUDIENCE),
        leases: config.leases,
        queues: config.queues,
        default_model: config.default_model.clone(),
        founding,
        sessions: Arc::default(),
        marks: Marks::default(),
        life: life.clone(),
        ready: Arc::new(Ready::default()),
        tasks: TaskTracker::new(),
        publishing: Mesh::publishing_permits(),
    })
}
