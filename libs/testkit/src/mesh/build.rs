//! What a mesh consists of.

use super::{Mesh, Service};
use crate::lost_commit::LostCommit;
use crate::{engines, ports, until};
use runmesh_mock_model::MockModel;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Long enough for a mesh on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The key of every mesh of tests, and of the issuer of its people's tokens, in hexadecimal digits: what it guards is on
/// loopback for seconds.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Settings of a mesh.
pub struct Builder {
    binary: PathBuf,
    gateways: usize,
    orchestrators: usize,
    relays: usize,
    own_engines: bool,
    nats_cluster: bool,
    workers: Workers,
    lease_ms: u64,
    lost_commit: bool,
    extra: Vec<(Kind, String, String)>,
}

/// Where the built-in workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workers {
    /// One in every orchestrator.
    Inside,
    /// One in the last orchestrator, which no gateway calls; the others only serve.
    Apart,
    /// None: a test brings its own.
    None,
}

/// Processes to set something for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every gateway.
    Gateway,
    /// Every orchestrator.
    Orchestrator,
    /// Every relay.
    Relay,
    /// Every process, in its environment as it is.
    Environment,
}

impl Builder {
    pub(super) fn new(binary: &str) -> Self {
        let extra = Vec::new();
        Self {
            binary: binary.into(),
            gateways: 2,
            orchestrators: 2,
            relays: 2,
            own_engines: false,
            nats_cluster: false,
            workers: Workers::Inside,
            lease_ms: 3_000,
            lost_commit: false,
            extra,
        }
    }

    /// How many gateways.
    #[must_use]
    pub fn gateways(self, gateways: usize) -> Self {
        Self { gateways, ..self }
    }

    /// How many orchestrators, each with a worker.
    #[must_use]
    pub fn orchestrators(self, orchestrators: usize) -> Self {
        Self { orchestrators, ..self }
    }

    /// How many relays.
    #[must_use]
    pub fn relays(self, relays: usize) -> Self {
        Self { relays, ..self }
    }

    /// Engines that nobody else uses, for tests that hurt them.
    #[must_use]
    pub fn own_engines(self) -> Self {
        Self { own_engines: true, ..self }
    }

    /// A cluster of three NATS servers that nobody else uses, and streams with a copy on each; an own Postgres too.
    #[must_use]
    pub fn nats_cluster(self) -> Self {
        let three = |builder: Self, kind| builder.set(kind, "BUS__REPLICAS", "3");
        let three = [Kind::Relay, Kind::Orchestrator].into_iter().fold(self, three);
        Self { nats_cluster: true, ..three }
    }

    /// The last orchestrator drives runs and no gateway calls it; the others only serve.
    #[must_use]
    pub fn workers_apart(self) -> Self {
        Self { workers: Workers::Apart, ..self }
    }

    /// Orchestrators only serve: a test brings its own workers.
    #[must_use]
    pub fn without_workers(self) -> Self {
        Self { workers: Workers::None, ..self }
    }

    /// The orchestrators reach Postgres on a way that can lose the answer to a COMMIT.
    #[must_use]
    pub fn lost_commit(self) -> Self {
        Self { lost_commit: true, ..self }
    }

    /// How long a lease lasts; the heartbeat is a third of it. Default 3 s.
    #[must_use]
    pub fn lease_ms(self, lease_ms: u64) -> Self {
        Self { lease_ms, ..self }
    }

    /// One more setting: `LEASES__POLL_MS` for the orchestrators, say.
    #[must_use]
    pub fn set(mut self, kind: Kind, key: &str, value: &str) -> Self {
        self.extra.push((kind, key.to_owned(), value.to_owned()));
        self
    }

    /// Starts every process and waits until the mesh serves through every gateway.
    pub async fn start(self) -> Mesh {
        let (engines, nats_cluster) = if self.nats_cluster {
            let (engines, cluster) = engines::own_with_cluster().await;
            (engines, Some(cluster))
        } else {
            (if self.own_engines { engines::own().await } else { engines::shared().await }, None)
        };
        let postgres_url = engines::database(&engines).await;
        let lost_commit = if self.lost_commit { Some(LostCommit::start(&postgres_url).await) } else { None };
        let model = MockModel::start().await.expect("the mock model starts");
        let ports: BTreeMap<_, _> = self.services().into_iter().map(|service| (service, ports::free())).collect();
        let mut mesh = Mesh {
            binary: self.binary.clone(),
            folder: tempfile::tempdir().expect("a folder"),
            engines,
            nats_cluster,
            postgres_url,
            lost_commit,
            model,
            workers: self.worker_count(),
            commands: BTreeMap::new(),
            ports,
            processes: BTreeMap::new(),
        };
        mesh.migrate();
        for service in self.services() {
            mesh.commands.insert(service, self.environment(service, &mesh));
            mesh.start_process(service);
        }
        mesh.wait_ready().await;
        mesh
    }

    fn services(&self) -> Vec<Service> {
        let gateways = (0..self.gateways).map(Service::Gateway);
        let orchestrators = (0..self.orchestrators).map(Service::Orchestrator);
        let relays = (0..self.relays).map(Service::Relay);
        gateways.chain(orchestrators).chain(relays).chain([Service::Approval, Service::Summary]).collect()
    }

    fn environment(&self, service: Service, mesh: &Mesh) -> Vec<(String, String)> {
        let prefix = service.prefix();
        let mut all = Vec::new();
        let mut set = |key: &str, value: &str| all.push((format!("{prefix}{key}"), value.to_owned()));
        set("LISTEN", &format!("127.0.0.1:{}", mesh.ports[&service]));
        set("MESH_KEY", KEY);
        if !matches!(service, Service::Gateway(_)) {
            let lost_commit = mesh.lost_commit.as_ref().filter(|_| matches!(service, Service::Orchestrator(_)));
            let url = lost_commit.map_or_else(|| mesh.postgres_url.clone(), |lost_commit| lost_commit.url(&mesh.postgres_url));
            set("POSTGRES_URL", &url);
        }
        match service {
            Service::Gateway(_) => {
                set("DEV", "true");
                set("REFLECTION", "true");
                set("JWT__ISSUER", "dev");
                set("JWT__KEY", KEY);
                set("ORCHESTRATORS", &urls(mesh, |service| self.serves_gateways(*service)));
                set("RELAYS", &urls(mesh, |service| matches!(service, Service::Relay(_))));
                set("APPROVALS", &urls(mesh, |service| matches!(service, Service::Approval)));
                set("SUMMARIES", &urls(mesh, |service| matches!(service, Service::Summary)));
            }
            Service::Orchestrator(index) => {
                set("NATS_URL", mesh.engines.nats_url());
                set("RELAYS", &urls(mesh, |service| matches!(service, Service::Relay(_))));
                set("DEFAULT_MODEL", "mock");
                set("WORKER__MODEL_URL", &mesh.model.url());
                set("WORKER__PRIVATE_ADDRESSES", "true");
                set("WORKER__NAME", &format!("worker-{index}"));
                set("ORGS", "dev,acme");
                set("ORG_ADMINS", "dev|you");
                set("ORG_CREATORS", "dev|you");
                set("ROLE", self.role(index));
                self.set_leases(&mut set);
            }
            Service::Relay(_) => set("NATS_URL", mesh.engines.nats_url()),
            Service::Approval => {}
            Service::Summary => set("LEASES__LEASE_MS", &self.lease_ms.to_string()),
        }
        self.add_extra(service, &mut all);
        all
    }

    fn worker_count(&self) -> usize {
        match self.workers {
            Workers::Inside => self.orchestrators,
            Workers::Apart => 1,
            Workers::None => 0,
        }
    }

    fn is_last(&self, index: usize) -> bool {
        index + 1 == self.orchestrators
    }

    fn role(&self, index: usize) -> &'static str {
        match self.workers {
            Workers::Inside => "all",
            Workers::Apart if self.is_last(index) => "worker",
            Workers::Apart | Workers::None => "api",
        }
    }

    fn serves_gateways(&self, service: Service) -> bool {
        match service {
            Service::Orchestrator(index) => self.workers != Workers::Apart || !self.is_last(index),
            _ => false,
        }
    }

    fn set_leases(&self, set: &mut impl FnMut(&str, &str)) {
        set("LEASES__LEASE_MS", &self.lease_ms.to_string());
        set("LEASES__HEARTBEAT_MS", &(self.lease_ms / 3).to_string());
        set("LEASES__REAPER_MS", "250");
    }

    fn add_extra(&self, service: Service, all: &mut Vec<(String, String)>) {
        let kind = match service {
            Service::Gateway(_) => Some(Kind::Gateway),
            Service::Orchestrator(_) => Some(Kind::Orchestrator),
            Service::Relay(_) => Some(Kind::Relay),
            Service::Approval | Service::Summary => None,
        };
        for (wanted, key, value) in &self.extra {
            let key = match wanted {
                Kind::Environment => key.clone(),
                _ if kind == Some(*wanted) => format!("{}{key}", service.prefix()),
                _ => continue,
            };
            all.retain(|(known, _)| *known != key);
            all.push((key, value.clone()));
        }
    }
}

fn urls(mesh: &Mesh, wanted: impl Fn(&Service) -> bool) -> String {
    let ports = mesh.ports.iter().filter(|(service, _)| wanted(service));
    ports.map(|(_, port)| format!("http://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

impl Mesh {
    /// Waits until every worker is known and every gateway answers for every service.
    pub async fn wait_ready(&mut self) {
        let workers = self.workers;
        let gateways: Vec<_> = self
            .ports
            .keys()
            .filter_map(|service| match service {
                Service::Gateway(index) => Some(*index),
                _ => None,
            })
            .collect();
        for gateway in gateways {
            let client = self.client(gateway);
            until("the mesh is ready", READY_DEADLINE, || {
                self.assert_all_run();
                let client = client.clone();
                async move {
                    let ready = client.list_workers(50).await.ok()?.len() >= workers;
                    client.get_summary(1).await.ok()?;
                    client.list_pending_actions(runmesh_client::Paging::default()).await.ok()?;
                    ready.then_some(())
                }
            })
            .await;
        }
    }

    /// A process that ended by itself while a mesh starts is a failure at once.
    fn assert_all_run(&mut self) {
        for (service, process) in &mut self.processes {
            assert!(process.is_running(), "{service:?} ended\n{}", process.tail());
        }
    }
}
