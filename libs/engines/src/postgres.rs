//! A private Postgres server: loopback only, no socket file, trust for whoever reaches the port. Never speaks SQL beyond
//! creating its one empty database.

mod apt;
mod cluster;
mod find;
mod handshake;
mod pid_file;

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use crate::{
    account, command,
    error::{Engine, EngineError},
    folder,
    home::Home,
    limits::POSTGRES_READY,
    options::{Durability, ServerOptions},
    process::{self, StopSignal},
    progress::Progress,
    server::{Daemon, Probe, Server},
};
use cluster::Tools;
use handshake::Answer;
use pid_file::PidFile;

/// The superuser that `initdb` creates.
const USER: &str = "postgres";
/// Copying the template takes well under a second.
const CREATEDB_LIMIT: Duration = Duration::from_secs(30);
/// The database the URL points at.
const DATABASE: &str = "runmesh";

/// A running Postgres server. Dropped without [`PostgresServer::stop`], it is stopped in the background.
#[derive(Debug)]
pub struct PostgresServer {
    server: Server<PostgresDaemon>,
    url: String,
}

impl PostgresServer {
    /// Finds or installs Postgres, creates the database on the first start, and starts it by itself on a folder of its own.
    ///
    /// # Errors
    /// No usable engine, a folder in use or closed to Postgres, or a server that does not come up.
    pub async fn start(options: &ServerOptions, progress: &dyn Progress) -> Result<Self, EngineError> {
        Self::start_in(Home::open(&options.data_dir)?, options, progress).await
    }

    pub(crate) async fn start_in(home: Arc<Home>, options: &ServerOptions, progress: &dyn Progress) -> Result<Self, EngineError> {
        let data = home.folder().join("postgres");
        let account = account::for_data(&data)?;
        // Before anything is downloaded: a closed folder makes all further work useless.
        account::check_folder(home.folder(), account)?;
        let version = cluster::version(&data)?;
        let bin = find::ensure(&options.cache_dir, account, version.map(|major| (data.as_path(), major)), progress);
        let tools = Tools { bin: bin.await?, account };
        if version.is_none() {
            progress.step("creating the postgres database");
            cluster::create(&tools, &data).await?;
        }
        progress.step("starting postgres");
        let daemon = PostgresDaemon { tools, data, durability: options.durability };
        let server = Server::start(daemon, home).await?;
        let url = format!("postgres://{USER}@127.0.0.1:{}/{DATABASE}", server.port());
        Ok(Self { server, url })
    }

    /// Stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on loopback; stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Makes one more empty database on this server and returns its URL: a test's own, say. `name` is taken as it is; one
    /// that exists is refused.
    ///
    /// # Errors
    /// The server is not running, or has a database of that name.
    pub async fn create_database(&self, name: &str) -> Result<String, EngineError> {
        let port = self.port();
        let mut createdb = self.server.daemon().tools.command("createdb");
        createdb.args(["--host=127.0.0.1", &format!("--port={port}"), &format!("--username={USER}"), name]);
        command::run(createdb, "", CREATEDB_LIMIT).await?;
        Ok(format!("postgres://{USER}@127.0.0.1:{port}/{name}"))
    }

    /// The main process, while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.server.pid().await
    }

    /// Ends all sessions and stops it; after ten seconds it is killed. Does nothing when it is stopped already.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn stop(&self) -> Result<(), EngineError> {
        self.server.stop().await
    }

    /// Kills its main process with SIGKILL and waits until that is gone; the sessions notice and end by themselves.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&self) -> Result<(), EngineError> {
        self.server.kill().await
    }

    /// Starts it again on the same data and port, after a stop if it still runs.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub async fn restart(&self) -> Result<(), EngineError> {
        self.server.restart().await
    }
}

#[derive(Debug)]
struct PostgresDaemon {
    tools: Tools,
    data: PathBuf,
    durability: Durability,
}

impl PostgresDaemon {
    fn pid_file(&self) -> PathBuf {
        self.data.join("postmaster.pid")
    }
}

impl Daemon for PostgresDaemon {
    const ENGINE: Engine = Engine::Postgres;
    const STOP: StopSignal = StopSignal::Interrupt;
    const READY_LIMIT: Duration = POSTGRES_READY;

    /// Postgres refuses to start when the number in its pid file is alive, whoever that is today. So the file is removed
    /// once no Postgres of this data has that number; its sessions, should one linger, still hold the shared memory,
    /// which Postgres checks by itself.
    async fn recover(&self) -> Result<(), EngineError> {
        let Some(found) = PidFile::read(&self.pid_file()) else {
            return Ok(());
        };
        process::stop_orphan(found.pid, &self.data.to_string_lossy(), Self::STOP).await?;
        folder::remove_file(&self.pid_file())
    }

    fn command(&self, port: u16) -> Result<Command, EngineError> {
        let fsync = match self.durability {
            Durability::Fsync => "fsync=on",
            Durability::ProcessDeath => "fsync=off",
        };
        let mut command = self.tools.command("postgres");
        command.arg("-D").arg(&self.data);
        for setting in [
            &format!("port={port}"),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=128MB",
            "timezone=UTC",
            "log_timezone=UTC",
            fsync,
        ] {
            command.arg("-c").arg(setting);
        }
        Ok(command)
    }

    async fn probe(&self, port: u16, pid: u32) -> Probe {
        // The port alone could belong to a stranger: the pid file says that our process holds it.
        if !PidFile::read(&self.pid_file()).is_some_and(|file| file.pid == pid && file.ready) {
            return Probe::NotYet;
        }
        match handshake::ask(port, USER, DATABASE).await {
            Ok(Answer::Ready) => Probe::Ready,
            Ok(Answer::StartingUp) | Err(_) => Probe::NotYet,
            Ok(Answer::Refused(reason)) => Probe::Failed(EngineError::Refused { engine: Engine::Postgres, reason }),
        }
    }

    fn is_passing(log: &str) -> bool {
        const PASSING: [&str; 3] =
            ["could not bind", "pre-existing shared memory block", "lock file \"postmaster.pid\" already exists"];
        PASSING.iter().any(|phrase| log.contains(phrase))
    }
}
