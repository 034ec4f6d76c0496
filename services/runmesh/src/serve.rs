//! `runmesh gateway | run-orchestrator | approval | stream-relay | summary`: one service in this process.

use crate::failure::Failure;
use clap::{Args, Subcommand, ValueEnum};
use runmesh_host::admin::{self, Admin};
use runmesh_host::health::Reporter;
use runmesh_host::telemetry::{self, LogFormat, Telemetry, TelemetryConfig};
use runmesh_host::{Lifecycle, config};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;

/// The version of every service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where a service's settings come from.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// A TOML or YAML file with a section for the service; `RUNMESH_<SERVICE>__<KEY>` in the environment wins over it.
    #[arg(long, short, env = "RUNMESH_CONFIG")]
    config: Option<PathBuf>,
    /// How long a drain may take before the process ends anyway.
    #[arg(long, default_value = "30", value_name = "SECONDS")]
    grace: u64,
}

/// A service to run.
#[derive(Debug, Clone, Subcommand)]
pub enum Service {
    /// The edge: identity, tenancy, limits; forwards calls to the other services.
    Gateway(Settings),
    /// Threads, runs, their queue, leases and journal.
    RunOrchestrator {
        /// Where its settings come from.
        #[command(flatten)]
        settings: Settings,
        /// What this replica does; overrides the settings.
        #[arg(long)]
        role: Option<Role>,
    },
    /// The inbox of what people have to decide.
    Approval(Settings),
    /// The run log: append and attach.
    StreamRelay(Settings),
    /// Who is working on what.
    Summary(Settings),
}

/// What an orchestrator replica does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// Serves and drives runs.
    All,
    /// Serves only.
    Api,
    /// Serves its own worker and drives runs.
    Worker,
}

impl Service {
    /// Runs the service until it is told to stop.
    ///
    /// # Errors
    /// [`Failure`] with the exit code: 64 before anything was bound, 69 when a part is missing, 70 when a task died.
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Gateway(settings) => gateway(settings).await,
            Self::RunOrchestrator { settings, role } => run_orchestrator(settings, role).await,
            Self::Approval(settings) => approval(settings).await,
            Self::StreamRelay(settings) => stream_relay(settings).await,
            Self::Summary(settings) => summary(settings).await,
        }
    }
}

/// A process with one service in it.
struct Process {
    life: Lifecycle,
    health: Reporter,
    telemetry: Telemetry,
    grace: Duration,
}

impl Process {
    fn new(name: &'static str, services: &[&str], settings: &Settings) -> Result<Self, Failure> {
        let telemetry = TelemetryConfig { service_name: name, version: VERSION, log: LogFormat::Auto };
        let telemetry = telemetry::init(&telemetry).map_err(|error| Failure::config(error.to_string()))?;
        let life = Lifecycle::new();
        life.handle_signals().map_err(|error| Failure::unavailable(format!("signals: {error}")))?;
        Ok(Self { life, health: Reporter::new(services), telemetry, grace: Duration::from_secs(settings.grace) })
    }

    /// Serves the operators' port, when one is configured.
    async fn admin(&self, listen: &str) -> Result<(), Failure> {
        if listen.is_empty() {
            return Ok(());
        }
        let listener = bind(listen).await?;
        tracing::info!(address = listen, "admin port is open");
        let admin = Admin { health: self.health.clone(), metrics: self.telemetry.metrics(), build: self.telemetry.build_info() };
        self.life.spawn_aside("admin", admin::serve(listener, admin));
        Ok(())
    }

    /// Waits for the end of the process.
    async fn run(self, started: Result<(), Failure>) -> Result<(), Failure> {
        let Self { life, health: _, telemetry, grace } = self;
        let ended = match started {
            Ok(()) => life.run(grace).await.map_err(|fault| Failure::fault(fault.to_string())),
            Err(failure) => {
                life.drain(Duration::from_secs(1)).await;
                Err(failure)
            }
        };
        telemetry.shutdown().await;
        ended
    }
}

/// Binds an address.
pub async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::unavailable(format!("cannot listen on {address}: {error}")))
}

fn load<T: serde::de::DeserializeOwned>(name: &str, settings: &Settings) -> Result<T, Failure> {
    config::load(name, settings.config.as_deref()).map_err(|error| Failure::config(error.to_string()))
}

async fn gateway(settings: Settings) -> Result<(), Failure> {
    let config: runmesh_gateway::GatewayConfig = load("gateway", &settings)?;
    let process = Process::new("gateway", runmesh_gateway::services(), &settings)?;
    let started = async {
        process.admin(&config.admin_listen).await?;
        let listener = bind(&config.listen).await?;
        runmesh_gateway::serve(config, listener, process.life.clone(), process.health.clone()).await.map_err(Failure::start)
    }
    .await;
    process.run(started).await
}

async fn run_orchestrator(settings: Settings, role: Option<Role>) -> Result<(), Failure> {
    let mut config: runmesh_run_orchestrator::Config = load("run-orchestrator", &settings)?;
    config.role = match role {
        None => config.role,
        Some(Role::All) => runmesh_run_orchestrator::Role::All,
        Some(Role::Api) => runmesh_run_orchestrator::Role::Api,
        Some(Role::Worker) => runmesh_run_orchestrator::Role::Worker,
    };
    let process = Process::new("run-orchestrator", runmesh_run_orchestrator::services(), &settings)?;
    let started = async {
        process.admin(&config.admin_listen).await?;
        let listener = bind(&config.listen).await?;
        let (life, health) = (process.life.clone(), process.health.clone());
        runmesh_run_orchestrator::serve(config, listener, life, health).await.map_err(Failure::start)
    }
    .await;
    process.run(started).await
}

async fn approval(settings: Settings) -> Result<(), Failure> {
    let config: runmesh_approval::Config = load("approval", &settings)?;
    let process = Process::new("approval", runmesh_approval::services(), &settings)?;
    let started = async {
        process.admin(&config.admin_listen).await?;
        let listener = bind(&config.listen).await?;
        runmesh_approval::serve(config, listener, process.life.clone(), process.health.clone()).await.map_err(Failure::start)
    }
    .await;
    process.run(started).await
}

async fn stream_relay(settings: Settings) -> Result<(), Failure> {
    let config: runmesh_stream_relay::Config = load("stream-relay", &settings)?;
    let process = Process::new("stream-relay", runmesh_stream_relay::services(), &settings)?;
    let started = async {
        process.admin(&config.admin_listen).await?;
        let listener = bind(&config.listen).await?;
        runmesh_stream_relay::serve(config, listener, process.life.clone(), process.health.clone()).await.map_err(Failure::start)
    }
    .await;
    process.run(started).await
}

async fn summary(settings: Settings) -> Result<(), Failure> {
    let config: runmesh_summary::Config = load("summary", &settings)?;
    let process = Process::new("summary", runmesh_summary::services(), &settings)?;
    let started = async {
        process.admin(&config.admin_listen).await?;
        let listener = bind(&config.listen).await?;
        runmesh_summary::serve(config, listener, process.life.clone(), process.health.clone()).await.map_err(Failure::start)
    }
    .await;
    process.run(started).await
}
