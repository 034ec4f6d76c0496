//! A private NATS server with JetStream: loopback only, no monitoring port. Never creates a stream.

mod cluster;
mod config;
mod find;
mod info;

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

pub use cluster::NatsCluster;

use self::config::Routes;
use crate::{
    error::{Engine, EngineError},
    folder,
    home::Home,
    limits::NATS_READY,
    options::ServerOptions,
    process::{self, StopSignal},
    progress::Progress,
    server::{Daemon, Probe, Server},
    version::Version,
};

/// Below this, message TTLs and batched direct gets are missing or newer settings are silently dropped.
const MINIMUM: Version = Version::new(2, 11);

/// A running NATS server. Dropped without [`NatsServer::stop`], it is stopped in the background.
#[derive(Debug)]
pub struct NatsServer {
    server: Server<NatsDaemon>,
    url: String,
}

impl NatsServer {
    /// Finds or installs `nats-server`, and starts it by itself on a folder of its own.
    ///
    /// # Errors
    /// No usable engine, a folder in use, or a server that does not come up.
    pub async fn start(options: &ServerOptions, progress: &dyn Progress) -> Result<Self, EngineError> {
        Self::start_in(Home::open(&options.data_dir)?, options, progress).await
    }

    pub(crate) async fn start_in(home: Arc<Home>, options: &ServerOptions, progress: &dyn Progress) -> Result<Self, EngineError> {
        Self::start_with(home, options, None, progress).await
    }

    async fn start_with(
        home: Arc<Home>,
        options: &ServerOptions,
        routes: Option<Routes>,
        progress: &dyn Progress,
    ) -> Result<Self, EngineError> {
        let binary = find::ensure(&options.cache_dir, progress).await?;
        progress.step("starting nats");
        let store_dir = folder::create(&home.folder().join("nats"), folder::data_mode())?;
        let mut hasher = DefaultHasher::new();
        store_dir.hash(&mut hasher);
        let daemon = NatsDaemon {
            binary,
            store_dir,
            config: home.folder().join("nats.conf"),
            pid_file: home.folder().join("nats.pid"),
            name: format!("runmesh-{:016x}", hasher.finish()),
            routes,
        };
        let server = Server::start(daemon, home).await?;
        let url = format!("nats://127.0.0.1:{}", server.port());
        Ok(Self { server, url })
    }

    /// Stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's own name, as clusters and streams name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.server.daemon().name
    }

    /// The port on loopback; stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The process, while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.server.pid().await
    }

    /// Stops it; after ten seconds it is killed. Does nothing when it is stopped already.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn stop(&self) -> Result<(), EngineError> {
        self.server.stop().await
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&self) -> Result<(), EngineError> {
        self.server.kill().await
    }

    /// Starts it again on the same data and port, after a stop if it still runs.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn restart(&self) -> Result<(), EngineError> {
        self.server.restart().await
    }
}

#[derive(Debug)]
struct NatsDaemon {
    binary: PathBuf,
    store_dir: PathBuf,
    config: PathBuf,
    pid_file: PathBuf,
    /// Derived from the folder, which only one server holds: tells our server from a stranger on the same port.
    name: String,
    /// Present at a member of a cluster.
    routes: Option<Routes>,
}

impl Daemon for NatsDaemon {
    const ENGINE: Engine = Engine::Nats;
    const STOP: StopSignal = StopSignal::Terminate;
    const READY_LIMIT: Duration = NATS_READY;

    async fn recover(&self) -> Result<(), EngineError> {
        let pid = fs::read_to_string(&self.pid_file).ok().and_then(|text| text.trim().parse().ok());
        match pid {
            Some(pid) => process::stop_orphan(pid, &self.config.to_string_lossy(), Self::STOP).await,
            None => Ok(()),
        }
    }

    fn command(&self, port: u16) -> Result<Command, EngineError> {
        let text = config::render(&self.name, port, &self.store_dir, &self.pid_file, self.routes.as_ref());
        fs::write(&self.config, text).map_err(EngineError::io("write", &self.config))?;
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).current_dir("/");
        Ok(command)
    }

    async fn probe(&self, port: u16, _pid: u32) -> Probe {
        let Ok(info) = info::read(port).await else {
            return Probe::NotYet;
        };
        if info.server_name != self.name {
            return Probe::NotYet;
        }
        match Version::find(&info.version) {
            Some(version) if version >= MINIMUM && info.jetstream => Probe::Ready,
            _ => Probe::Failed(EngineError::Refused {
                engine: Engine::Nats,
                reason: format!("version {} with jetstream {}, need {MINIMUM} with it", info.version, info.jetstream),
            }),
        }
    }

    fn is_passing(log: &str) -> bool {
        log.contains("address already in use")
    }
}
