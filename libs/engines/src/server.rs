//! The life of a server, the same for both engines: start until ready, stop, kill, restart on the same data and port.
//! What is special about an engine is its [`Daemon`].

use std::{future::Future, net::TcpListener, process::Command, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    error::{Engine, EngineError},
    home::Home,
    limits::{POLL, PROBE_LIMIT, START_AGAIN, STOP_GRACE},
    log_file::LogFile,
    process::{ServerProcess, StopSignal},
};

/// What one look at a starting server found.
pub(crate) enum Probe {
    NotYet,
    Ready,
    Failed(EngineError),
}

/// How one kind of server is run.
pub(crate) trait Daemon: Send + Sync {
    const ENGINE: Engine;
    const STOP: StopSignal;
    /// How long a start may take, several attempts included.
    const READY_LIMIT: Duration;

    /// Stops what an earlier start left on the same data.
    fn recover(&self) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// The command that serves on `port` of loopback.
    fn command(&self, port: u16) -> Result<Command, EngineError>;
    /// Whether process `pid`, and no other server, answers on `port`.
    fn probe(&self, port: u16, pid: u32) -> impl Future<Output = Probe> + Send;
    /// Whether a start that ended with this log may succeed when tried again.
    fn is_passing(log: &str) -> bool;
}

/// A server on its data and its port.
#[derive(Debug)]
pub(crate) struct Server<D> {
    daemon: D,
    home: Arc<Home>,
    log: LogFile,
    port: u16,
    running: Mutex<Option<ServerProcess>>,
}

impl<D: Daemon> Server<D> {
    /// Starts on a free port, which stays the server's port for good.
    pub(crate) async fn start(daemon: D, home: Arc<Home>) -> Result<Self, EngineError> {
        let log = LogFile::new(home.folder().join(format!("{}.log", D::ENGINE)));
        let mut server = Self { daemon, home, log, port: 0, running: Mutex::new(None) };
        server.daemon.recover().await?;
        let deadline = Instant::now() + D::READY_LIMIT;
        let process = loop {
            server.port = free_port()?;
            if let Some(process) = server.attempt(deadline).await? {
                break process;
            }
        };
        server.running = Mutex::new(Some(process));
        Ok(server)
    }

    pub(crate) fn daemon(&self) -> &D {
        &self.daemon
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn pid(&self) -> Option<u32> {
        let mut running = self.running.lock().await;
        let process = running.as_mut()?;
        if process.ended().is_none() { Some(process.pid()) } else { None }
    }

    pub(crate) async fn stop(&self) -> Result<(), EngineError> {
        match self.running.lock().await.take() {
            Some(process) => process.stop(STOP_GRACE).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), EngineError> {
        match self.running.lock().await.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Stops it if it runs, then starts it on the same data and port.
    pub(crate) async fn restart(&self) -> Result<(), EngineError> {
        // Held to the end: a second restart waits for the first and then does its own.
        let mut running = self.running.lock().await;
        if let Some(process) = running.take() {
            process.stop(STOP_GRACE).await?;
        }
        self.daemon.recover().await?;
        let deadline = Instant::now() + D::READY_LIMIT;
        while running.is_none() {
            *running = self.attempt(deadline).await?;
        }
        Ok(())
    }

    /// One attempt to start. `None`: it failed for a reason that passes, try again.
    async fn attempt(&self, deadline: Instant) -> Result<Option<ServerProcess>, EngineError> {
        let command = self.daemon.command(self.port)?;
        let (mut process, from) = ServerProcess::spawn(command, &self.log, D::STOP, Arc::clone(&self.home))?;
        match self.ready(&mut process, from, deadline).await {
            Ok(()) => Ok(Some(process)),
            Err(error) => {
                process.kill().await?;
                let passing = matches!(&error, EngineError::Exited { tail, .. } if D::is_passing(tail));
                if !passing || Instant::now() >= deadline {
                    return Err(error);
                }
                sleep(START_AGAIN).await;
                Ok(None)
            }
        }
    }

    async fn ready(&self, process: &mut ServerProcess, from: u64, deadline: Instant) -> Result<(), EngineError> {
        loop {
            if let Some(status) = process.ended() {
                let (tail, log) = (self.log.tail(from), self.log.path().to_owned());
                return Err(EngineError::Exited { engine: D::ENGINE, status: status.to_string(), tail, log });
            }
            match timeout(PROBE_LIMIT, self.daemon.probe(self.port, process.pid())).await {
                Ok(Probe::Ready) => return Ok(()),
                Ok(Probe::Failed(error)) => return Err(error),
                Ok(Probe::NotYet) | Err(_) => {}
            }
            if Instant::now() >= deadline {
                let (tail, log) = (self.log.tail(from), self.log.path().to_owned());
                return Err(EngineError::NotReady { engine: D::ENGINE, waited: D::READY_LIMIT, tail, log });
            }
            sleep(POLL).await;
        }
    }
}

/// A port that was free a moment ago; whoever takes it first makes the start fail in a passing way.
fn free_port() -> Result<u16, EngineError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(EngineError::io("bind", "127.0.0.1:0"))
}
