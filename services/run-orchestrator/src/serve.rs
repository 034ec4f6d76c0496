//! Puts a run-orchestrator together and runs it.

use crate::api::{AgentApi, Apis, OrgApi, RunApi, ThreadApi, WorkerApi};
use crate::assign::Assigner;
use crate::claim::ClaimStreams;
use crate::config::{Config, Role};
use crate::dispatch::Dispatcher;
use crate::founding::Founding;
use crate::reaper::Reaper;
use crate::sessions::Sessions;
use crate::sweeper::Sweeper;
use crate::{api, builtin, cancel_hints, dispatch, founding, sweeper};
use runmesh_bus::{Bus, BusConfig};
use runmesh_command::{Commands, Publisher, WorkSignal};
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
    let shared = Shared::new(&config, &key, connect(&config).await.map_err(StartError::part)?);
    founding::make_orgs(&shared.db, &founding, &config.orgs).await.map_err(StartError::part)?;
    let address = listener.local_addr()?;
    let policy = Policy { reason: status::reason_name_of_code, knows: descriptors::is_method, deadline: deadline::of };
    let hops = Hops { header: header::PRINCIPAL, typ: header::HOP_TYPE, audience: header::AUDIENCE };
    let routes = (api::routes(shared.apis(&config, founding, &life)), config.reflection.then_some(descriptors::ENCODED));
    let (server, routes) = start::server::<Principal>(config.server.clone(), policy, (hops, &key), routes, &health)?;
    let worker_done = CancellationToken::new();
    serve_until_worker_is_done(server, listener, routes, &life, (health.clone(), worker_done.clone()));
    shared.start_loops(&config, &life);
    if config.role != Role::Api {
        builtin::start(&config, &key, address, &life, worker_done)?;
    } else {
        worker_done.cancel();
    }
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

async fn connect(config: &Config) -> runmesh_domain::Result<(Db, Bus)> {
    let mut store = StoreConfig::new(config.postgres_url.expose_secret(), "run-orchestrator");
    store.connections = config.postgres_connections;
    store.read_connections = config.postgres_read_connections;
    store.read_timeout = Duration::from_millis(config.postgres_read_timeout_ms);
    let bus = BusConfig::new(&config.nats_url, "run-orchestrator").choosing(&config.bus);
    let (db, bus) = futures::try_join!(Db::connect(&store), Bus::connect(bus))?;
    bus.ensure().await?;
    Ok((db, bus))
}

/// What the parts of one replica share.
struct Shared {
    db: Db,
    bus: Bus,
    publisher: Publisher,
    commands: Commands,
    /// Counts the work that outlives the call that began it.
    tasks: TaskTracker,
    work: Arc<WorkSignal>,
    sessions: Arc<Sessions>,
    assigner: Assigner,
    reaper: Reaper,
}

impl Shared {
    fn new(config: &Config, key: &MeshKey, (db, bus): (Db, Bus)) -> Self {
        let (tasks, work) = (TaskTracker::new(), Arc::new(WorkSignal::default()));
        let publisher = Publisher::new(db.clone(), bus.clone(), Arc::clone(&work), tasks.clone());
        let run_tokens = Signer::new(key, header::RUN_TYPE, header::AUDIENCE);
        Self {
            commands: Commands::new(db.clone(), publisher.clone(), tasks.clone()),
            assigner: Assigner { db: db.clone(), publisher: publisher.clone(), run_tokens },
            reaper: Reaper { db: db.clone(), publisher: publisher.clone(), leases: config.leases },
            sessions: Arc::default(),
            db,
            bus,
            publisher,
            tasks,
            work,
        }
    }

    fn apis(&self, config: &Config, founding: Arc<Founding>, life: &Lifecycle) -> Apis {
        let claims = ClaimStreams {
            db: self.db.clone(),
            sessions: Arc::clone(&self.sessions),
            work: Arc::clone(&self.work),
            reaper: self.reaper.clone(),
            leases: config.leases,
            life: life.clone(),
            tasks: self.tasks.clone(),
        };
        let commands = self.commands.clone();
        let (db, bus, work) = (self.db.clone(), self.bus.clone(), Arc::clone(&self.work));
        Apis {
            org: OrgApi { commands: commands.clone(), founding, work, db: db.clone(), bus },
            agent: AgentApi { commands: commands.clone() },
            thread: ThreadApi { commands: commands.clone() },
            run: RunApi {
                commands: commands.clone(),
                sessions: Arc::clone(&self.sessions),
                assigner: self.assigner.clone(),
                queues: config.queues,
                default_model: config.default_model.clone(),
            },
            worker: WorkerApi { commands, db, claims, leases: config.leases, queues: config.queues, life: life.clone() },
        }
    }

    /// Starts every loop. Each ends when the replica drains; the commands under way are waited for.
    fn start_loops(self, config: &Config, life: &Lifecycle) {
        let Self { db, bus, publisher, commands: _, tasks, work, sessions, assigner, reaper } = self;
        let marks = publisher.clone().write_marks(life.soft().clone());
        life.spawn("marks", async move {
            marks.await;
            Ok::<(), std::convert::Infallible>(())
        });
        sweeper::start(Sweeper::new(db.clone(), publisher, reaper, config.leases), life);
        cancel_hints::start(bus.clone(), Arc::clone(&sessions), life);
        let (queues, poll) = (config.queues, config.leases.poll());
        dispatch::start(Dispatcher { db, sessions, assigner, work, queues, poll }, bus, life);
        let soft = life.soft().clone();
        life.spawn("commands", async move {
            soft.cancelled().await;
            tasks.close();
            tasks.wait().await;
            Ok::<(), std::convert::Infallible>(())
        });
    }
}
