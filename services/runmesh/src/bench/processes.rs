//! The processes of the bench's mesh: this very binary, once a replica. They die with the bench, however that ends.

use super::failed;
use super::plan::{ORGS, PATIENCE};
use super::usage::{self, Cpu};
use crate::failure::Failure;
use runmesh_engines::Engines;
use runmesh_store::Db;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

mod keeper;
mod settings;

pub(super) use settings::KEY;

/// A replica of a part of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The mock model.
    Model,
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

/// What runs from the start: two of everything that has state to lose.
const PARTS: [Part; 9] = [
    Part::Model,
    Part::Gateway(0),
    Part::Gateway(1),
    Part::Orchestrator(0),
    Part::Orchestrator(1),
    Part::Relay(0),
    Part::Relay(1),
    Part::Approval,
    Part::Summary,
];

/// The running processes.
#[derive(Debug)]
pub(super) struct Fleet {
    binary: PathBuf,
    logs: PathBuf,
    pub(super) postgres_url: String,
    nats_url: String,
    ports: BTreeMap<Part, u16>,
    children: BTreeMap<Part, Child>,
    /// Ends the group when its standard input closes: the system closes it for us however this process ends.
    keeper: Option<Child>,
    group: i32,
}

impl Fleet {
    /// Starts every process. They may not serve yet when this returns.
    pub(super) async fn start(engines: &Engines) -> Result<Self, Failure> {
        let binary = std::env::current_exe().map_err(|error| failed("this binary", error))?;
        Db::migrate(engines.postgres_url()).await.map_err(|error| failed("the migrations", error))?;
        let mut fleet = Self {
            binary,
            logs: engines.data_dir().to_owned(),
            postgres_url: engines.postgres_url().to_owned(),
            nats_url: engines.nats_url().to_owned(),
            ports: BTreeMap::new(),
            children: BTreeMap::new(),
            keeper: None,
            group: 0,
        };
        for part in PARTS {
            fleet.ports.insert(part, free_port()?);
        }
        for part in PARTS {
            fleet.launch(part, &[])?;
        }
        Ok(fleet)
    }

    /// Starts a replica that does not run, with these settings over its own.
    pub(super) fn launch(&mut self, part: Part, extra: &[(&str, &str)]) -> Result<(), Failure> {
        if let Entry::Vacant(unknown) = self.ports.entry(part) {
            unknown.insert(free_port()?);
        }
        let log = self.logs.join(format!("bench-{part:?}.log"));
        let log = File::options().create(true).append(true).open(&log).map_err(|error| failed("a log", error))?;
        let errors = log.try_clone().map_err(|error| failed("a log", error))?;
        let mut command = Command::new(&self.binary);
        command.args(self.arguments(part)).env_clear().envs(self.environment(part));
        command.envs(extra.iter().map(|(key, value)| (format!("{}{key}", part.prefix()), *value)));
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(self.group);
        let child = command.spawn().map_err(|error| failed("a process", error))?;
        if self.group == 0 {
            self.group = i32::try_from(child.id()).map_err(|error| failed("a process", error))?;
            self.children.insert(part, child);
            self.keeper = Some(keeper::start(self.group)?);
        } else {
            self.children.insert(part, child);
        }
        Ok(())
    }

    /// SIGKILL; the process is gone when this returns.
    pub(super) fn kill(&mut self, part: Part) -> Result<(), Failure> {
        let Some(mut child) = self.children.remove(&part) else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| failed("kill", error))
    }

    /// The port of a replica.
    pub(super) fn port(&self, part: Part) -> u16 {
        self.ports.get(&part).copied().unwrap_or_default()
    }

    /// The address of a gateway.
    pub(super) fn gateway(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.port(Part::Gateway(index)))
    }

    /// Memory of every running process, in megabytes.
    pub(super) fn memory(&self) -> Vec<(Part, f64)> {
        self.children.iter().filter_map(|(part, child)| Some((*part, usage::resident_mb(child.id())?))).collect()
    }

    /// CPU seconds of everything so far, this process included.
    pub(super) async fn cpu(&self, engines: &Engines) -> Cpu {
        let mut all = Cpu::new();
        for (part, child) in &self.children {
            *all.entry(part.kind()).or_default() += usage::cpu(child.id());
        }
        if let Some(server) = engines.postgres() {
            all.insert("postgres", server.pid().await.map_or(0.0, usage::cpu_of_family));
        }
        if let Some(server) = engines.nats() {
            all.insert("nats", server.pid().await.map_or(0.0, usage::cpu));
        }
        all.insert("bench", usage::cpu(std::process::id()));
        all
    }

    /// Fails when a process ended by itself, with the end of its log.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for (part, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read_to_string(self.logs.join(format!("bench-{part:?}.log"))).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(8).collect();
                let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(Failure::fault(format!("{part:?} ended with {status}\n{tail}")));
            }
        }
        Ok(())
    }

    /// Tries until `attempt` has an answer, at most a minute, as long as every process runs.
    pub(super) async fn until<T, F>(&mut self, what: &str, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Option<T>>,
    {
        let until = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < until {
            self.check()?;
            if let Some(answer) = attempt().await {
                return Ok(answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(Failure::fault(format!("{what}: not within {} s", PATIENCE.as_secs())))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.children.values_mut().chain(&mut self.keeper) {
            // Closes the keeper's input too; a process that is gone already needs no signal.
            drop(child.stdin.take());
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Names of the orgs of the bench.
pub(super) fn orgs() -> Vec<String> {
    (1..=ORGS).map(|number| format!("bench-{number}")).collect()
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| failed("a free port", error))
}
