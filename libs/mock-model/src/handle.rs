//! A mock model of one's own on a free port, for tests.
//!
//! It lives as long as its handle: dropping the handle drops the server and every open connection.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::received::{RECEIVED_MAX, Received};
use crate::server;
use crate::state::Shared;

/// A running mock model.
#[derive(Debug)]
pub struct MockModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl MockModel {
    /// Starts a mock model on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(RECEIVED_MAX));
        let server = tokio::spawn(server::run(listener, pending(), Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// The base URL for model clients, as in `http://127.0.0.1:4000/v1`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The base URL of the tool target, as in `http://127.0.0.1:4000/tools`.
    pub fn tools_url(&self) -> String {
        format!("http://{}/tools", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Model calls so far, failed and malformed ones included.
    pub fn calls(&self) -> u64 {
        self.shared.calls()
    }

    /// The latest model calls, oldest first, at most 256.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.all()
    }

    /// Tool calls that arrived with this idempotency key.
    pub fn effects(&self, key: &str) -> u64 {
        self.shared.effects.of(key)
    }

    /// All tool calls that arrived.
    pub fn effects_total(&self) -> u64 {
        self.shared.effects.total()
    }

    /// The most tool calls that arrived with any one idempotency key: 1 when nothing ran twice. Calls without a key
    /// share one count.
    pub fn effects_most(&self) -> u64 {
        self.shared.effects.keys_and_most().1
    }

    /// Stops the server and waits until it listens no more.
    pub async fn stop(mut self) {
        self.server.abort();
        // Aborted or ended, the server is gone either way.
        let _ = (&mut self.server).await;
    }
}

impl Drop for MockModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}
