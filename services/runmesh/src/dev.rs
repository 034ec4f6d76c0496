//! `runmesh dev`: the whole mesh in this process, against engines of its own.
//!
//! Every hop between the services goes over loopback, as it does between machines.

mod banner;
mod data;
mod mesh;
mod progress;

use crate::failure::Failure;
use crate::serve::VERSION;
use clap::Args;
use futures::FutureExt as _;
use runmesh_engines::{EngineOptions, Engines};
use runmesh_host::Lifecycle;
use runmesh_host::telemetry::{self, LogFormat, Telemetry, TelemetryConfig};
use runmesh_store::Db;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Mutex;

/// Options of `runmesh dev`.
#[derive(Debug, Clone, Args)]
pub struct Dev {
    /// The folder of the data. Default: `runmesh` where this system keeps programs' data.
    #[arg(long, env = "RUNMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Keep nothing: the data goes with the process.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// A Postgres to use instead of an own one.
    #[arg(long, env = "RUNMESH_POSTGRES_URL", hide_env_values = true)]
    postgres_url: Option<String>,
    /// A NATS server to use instead of an own one.
    #[arg(long, env = "RUNMESH_NATS_URL", hide_env_values = true)]
    nats_url: Option<String>,
    /// The gateway's port; the next free one when it is taken.
    #[arg(long, default_value_t = 7420)]
    port: u16,
    /// Base URL of an OpenAI-compatible endpoint, `https://…/v1`; the mock model when absent.
    #[arg(long, env = "RUNMESH_MODEL_URL")]
    model_url: Option<String>,
    /// The model's name at that endpoint.
    #[arg(long, env = "RUNMESH_MODEL", requires = "model_url")]
    model: Option<String>,
    /// A file with the endpoint's key; else `RUNMESH_MODEL_KEY` or `OPENAI_API_KEY` of the environment.
    #[arg(long)]
    model_key_file: Option<PathBuf>,
    /// How long a lease lasts after a heartbeat, in milliseconds.
    #[arg(long, default_value_t = 15_000, hide = true)]
    lease_ms: u64,
}

impl Dev {
    /// Runs the mesh until Ctrl-C.
    ///
    /// # Errors
    /// [`Failure`] when an engine or a service cannot start, or when one dies.
    pub async fn run(self) -> Result<(), Failure> {
        if self.model_url.is_some() && self.model.is_none() {
            return Err(
                Failure::config("--model-url needs --model").with_hint("name the model as its provider does: --model NAME")
            );
        }
        let progress = progress::Progress::new();
        let engines = self.engines(&progress).await?;
        let telemetry = self.telemetry(&engines)?;
        let life = Lifecycle::new();
        life.handle_signals().map_err(|error| Failure::unavailable(format!("signals: {error}")))?;
        let started = self.services(&engines, &life, &progress).await;
        progress.clear();
        let ended = match started {
            Ok(running) => {
                banner::print(&running, &engines);
                let said = banner::say_draining(&life).then(|()| std::future::pending::<Infallible>());
                tokio::select! {
                    ended = running.until_stopped(&life) => ended,
                    never = said => match never {},
                }
            }
            Err(failure) => Err(failure),
        };
        telemetry.shutdown().await;
        let stopped = engines.stop().await.map_err(|error| Failure::unavailable(error.to_string()));
        ended.and(stopped).map(|()| banner::say_stopped())
    }

    /// The schema first: the services check it and never change it.
    async fn services(
        &self,
        engines: &Engines,
        life: &Lifecycle,
        progress: &progress::Progress,
    ) -> Result<mesh::Running, Failure> {
        runmesh_engines::Progress::step(progress, "bringing the database up to date");
        let migrated = Db::migrate(engines.postgres_url()).await.map_err(Failure::start)?;
        tracing::info!(applied = migrated.applied.len(), newest = migrated.schema.newest, "the database is up to date");
        runmesh_engines::Progress::step(progress, "starting the five services");
        mesh::start(self, engines, life).await
    }

    async fn engines(&self, progress: &progress::Progress) -> Result<Engines, Failure> {
        let mut options = EngineOptions::new(data::folder(self)?);
        options.postgres_url.clone_from(&self.postgres_url);
        options.nats_url.clone_from(&self.nats_url);
        Engines::start(options, progress).await.map_err(|error| {
            progress.clear();
            Failure::unavailable(error.to_string()).with_hint(error.hint())
        })
    }

    /// Logs go to a file in the data folder, so that the terminal stays for people.
    fn telemetry(&self, engines: &Engines) -> Result<Telemetry, Failure> {
        let path = data::log_file(engines);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| Failure::unavailable(format!("{}: {error}", path.display())))?;
        let config = TelemetryConfig { service_name: "runmesh-dev", version: VERSION, log: LogFormat::Json };
        telemetry::init_with_writer(&config, Mutex::new(file)).map_err(|error| Failure::config(error.to_string()))
    }
}
