//! A mesh of real processes: any number of each service, over real engines, with the mock model.

mod build;
mod hurt;
mod talk;

pub use build::{Builder, KEY, Kind};
pub use talk::Run;

use crate::lost_commit::LostCommit;
use crate::process::Process;
use runmesh_client::{Client, Options};
use runmesh_engines::{Engines, NatsCluster};
use runmesh_mock_model::MockModel;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// One process of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The nth gateway.
    Gateway(usize),
    /// The nth orchestrator.
    Orchestrator(usize),
    /// The nth relay.
    Relay(usize),
    /// The approval service.
    Approval,
    /// The summary service.
    Summary,
}

/// A running mesh.
pub struct Mesh {
    binary: PathBuf,
    folder: tempfile::TempDir,
    engines: Arc<Engines>,
    nats_cluster: Option<NatsCluster>,
    postgres_url: String,
    lost_commit: Option<LostCommit>,
    model: MockModel,
    workers: usize,
    ports: BTreeMap<Service, u16>,
    commands: BTreeMap<Service, Vec<(String, String)>>,
    processes: BTreeMap<Service, Process>,
}

impl Mesh {
    /// A mesh of two of everything that has state to lose, and one of the rest. `binary` is the `runmesh` to test.
    pub fn builder(binary: &str) -> Builder {
        Builder::new(binary)
    }

    /// The address of a gateway.
    pub fn gateway_url(&self, index: usize) -> String {
        self.url(Service::Gateway(index))
    }

    /// Where a process serves.
    pub fn url(&self, service: Service) -> String {
        format!("http://127.0.0.1:{}", self.ports[&service])
    }

    /// A client of a gateway, as the one person of the development org.
    pub fn client(&self, gateway: usize) -> Client {
        Client::connect(&self.gateway_url(gateway), Options::default()).expect("a client")
    }

    /// The mock model, which counts its calls and the effects of its tools.
    pub fn model(&self) -> &MockModel {
        &self.model
    }

    /// The engines.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The servers of NATS, of a mesh that was built with [`Builder::nats_cluster`].
    pub fn nats_cluster(&self) -> &NatsCluster {
        self.nats_cluster.as_ref().expect("a mesh with nats_cluster")
    }

    /// The mesh's database.
    pub fn postgres_url(&self) -> &str {
        &self.postgres_url
    }

    /// The orchestrators' way to Postgres, of a mesh that was built with [`Builder::lost_commit`].
    pub fn lost_commit(&self) -> &LostCommit {
        self.lost_commit.as_ref().expect("a mesh with lost_commit")
    }

    /// The number of a process.
    pub fn pid(&self, service: Service) -> u32 {
        self.processes[&service].pid()
    }

    /// From now on processes are started from another version's binary.
    pub fn use_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// Brings the database to the schema of the binary, as an operator would.
    pub fn migrate(&self) {
        let mut command = Command::new(&self.binary);
        let output = command.args(["migrate", "--postgres-url", &self.postgres_url]).output().expect("migrate starts");
        assert!(output.status.success(), "migrate: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a process that is not running.
    pub fn start_process(&mut self, service: Service) {
        self.start_with(service, &[]);
    }

    /// Starts a process that is not running, with more in its environment: its settings by their whole names.
    pub fn start_with(&mut self, service: Service, more: &[(&str, &str)]) {
        let mut command = Command::new(&self.binary);
        command.arg(service.subcommand()).env_clear();
        command.envs(self.commands[&service].iter().map(|(key, value)| (key, value)));
        command.envs(more.iter().copied());
        if let Ok(filter) = std::env::var("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        let log = self.folder.path().join(format!("{service:?}.log"));
        self.processes.insert(service, Process::start(command, &log));
    }
}

impl Service {
    fn subcommand(self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Orchestrator(_) => "run-orchestrator",
            Self::Relay(_) => "stream-relay",
            Self::Approval => "approval",
            Self::Summary => "summary",
        }
    }

    /// What its settings in the environment begin with.
    fn prefix(self) -> String {
        format!("RUNMESH_{}__", self.subcommand().replace('-', "_").to_uppercase())
    }
}

impl Drop for Mesh {
    /// A failing test shows what the processes said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.processes.values() {
                eprintln!("{}\n", process.tail());
            }
        }
    }
}
