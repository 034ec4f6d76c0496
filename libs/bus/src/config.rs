//! What an operator chooses about NATS.

use serde::Deserialize;
use std::fmt;

/// Where NATS is and how much the mesh may keep in it.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// One or more servers, `nats://[user:password@]host:port`, with commas between.
    pub url: String,
    /// What the server's own lists call this connection.
    pub name: String,
    /// Copies of each stream in a cluster: 1, 3 or 5.
    pub replicas: usize,
    /// How much the run log keeps, in bytes; the oldest goes first.
    pub log_bytes_max: i64,
    /// How much the transition feed keeps, in bytes; the oldest goes first.
    pub feed_bytes_max: i64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            name: "runmesh".into(),
            replicas: 1,
            log_bytes_max: 1 << 30,
            feed_bytes_max: 256 << 20,
        }
    }
}

impl BusConfig {
    /// The defaults on these servers.
    #[must_use]
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { url: url.into(), name: name.into(), ..Self::default() }
    }
}

/// The URL may hold a password and is left out.
impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, name, replicas, log_bytes_max, feed_bytes_max } = self;
        let mut shown = f.debug_struct("BusConfig");
        shown.field("name", name).field("replicas", replicas);
        shown.field("log_bytes_max", log_bytes_max).field("feed_bytes_max", feed_bytes_max).finish_non_exhaustive()
    }
}
