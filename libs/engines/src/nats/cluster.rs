//! Several NATS servers as one cluster with JetStream, each a process of its own. For tests that take servers away.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{NatsServer, config::Routes};
use crate::{
    error::{Engine, EngineError},
    home::Home,
    limits::{GREETING_BYTES_MAX, NATS_CLUSTER_READY, POLL, PROBE_LIMIT},
    options::{DataDir, ServerOptions},
    progress::Progress,
};

/// Ports of routes lie below the range from which the system gives ports to outgoing connections, so that nobody takes one
/// while its server is down.
const ROUTES_FIRST: u16 = 31_000;
const ROUTES_COUNT: u16 = 1_700;

static NEXT_ROUTE: AtomicU16 = AtomicU16::new(0);

/// A running cluster. Its servers are stopped and killed one by one.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    url: String,
}

impl NatsCluster {
    /// Starts `size` servers, each on a folder of its own below the data folder, and waits until they take a stream that has
    /// a copy on every one of them.
    ///
    /// # Errors
    /// As [`NatsServer::start`], or a cluster that does not form.
    pub async fn start(options: &ServerOptions, size: u16, progress: &dyn Progress) -> Result<Self, EngineError> {
        let ports = (0..size).map(|_| free_route()).collect::<Result<Vec<_>, _>>()?;
        let mut servers = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let data_dir = match &options.data_dir {
                DataDir::Persistent(folder) => DataDir::Persistent(folder.join(format!("nats-{index}"))),
                DataDir::Ephemeral => DataDir::Ephemeral,
            };
            let routes = Routes { cluster: "runmesh".into(), port: *port, ports: ports.clone() };
            servers.push(NatsServer::start_with(Home::open(&data_dir)?, options, Some(routes), progress).await?);
        }
        let url = servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",");
        let cluster = Self { servers, url };
        cluster.formed().await?;
        Ok(cluster)
    }

    /// Every server's URL, with commas between. Stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every server.
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The server of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&NatsServer> {
        self.servers.iter().find(|server| server.name() == name)
    }

    async fn formed(&self) -> Result<(), EngineError> {
        let (deadline, size) = (Instant::now() + NATS_CLUSTER_READY, self.servers.len());
        let port = self.servers.first().map_or(0, NatsServer::port);
        loop {
            if let Ok(Some(())) = timeout(PROBE_LIMIT, takes_streams(port, size)).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reason = format!("{size} servers did not form a cluster within {} s", NATS_CLUSTER_READY.as_secs());
                return Err(EngineError::Refused { engine: Engine::Nats, reason });
            }
            sleep(POLL).await;
        }
    }
}

/// Whether a stream with `copies` copies can be made: it is made and removed.
async fn takes_streams(port: u16, copies: usize) -> Option<()> {
    let stream = format!(r#"{{"name":"READY","subjects":["_ready"],"storage":"memory","num_replicas":{copies}}}"#);
    let made = ask(port, "$JS.API.STREAM.CREATE.READY", &stream).await?;
    if made.contains("\"error\"") {
        return None;
    }
    let removed = ask(port, "$JS.API.STREAM.DELETE.READY", "").await?;
    (!removed.contains("\"error\"")).then_some(())
}

/// One request on a connection of its own; none when the server does not answer it.
async fn ask(port: u16, subject: &str, payload: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let said = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB _ready.answer 1\r\nPUB {subject} _ready.answer {}\r\n{payload}\r\n",
        payload.len()
    );
    stream.write_all(said.as_bytes()).await.ok()?;
    let mut lines = BufReader::new(stream.take(GREETING_BYTES_MAX as u64));
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.starts_with("MSG ") {
            let mut answer = String::new();
            lines.read_line(&mut answer).await.ok()?;
            return Some(answer);
        }
    }
}

/// A port of loopback that nobody listens on. Processes begin at different places of the range.
fn free_route() -> Result<u16, EngineError> {
    let start = u16::try_from(std::process::id() % 340).unwrap_or(0) * 5;
    let ports = (0..ROUTES_COUNT).map(|_| {
        let offset = start.wrapping_add(NEXT_ROUTE.fetch_add(1, Ordering::Relaxed)) % ROUTES_COUNT;
        ROUTES_FIRST + offset
    });
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().ok_or_else(|| EngineError::Refused { engine: Engine::Nats, reason: "no port for routes is free".into() })
}
