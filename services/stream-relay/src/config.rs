//! What a relay is told at start.

use crate::limits;
use runmesh_bus::StreamChoices;
use runmesh_domain::limits::Queues;
use runmesh_host::ServerConfig;
use runmesh_host::signed::MeshKey;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// Settings of a stream-relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to serve on. Default `127.0.0.1:7433`.
    pub listen: String,
    /// Address of the admin port; none when empty.
    pub admin_listen: String,
    /// Postgres, which is only read. Required.
    pub postgres_url: SecretString,
    /// Connections to Postgres for those who append, at most. Default 4.
    pub postgres_connections: u32,
    /// Connections to Postgres for the looks at runs that are quiet or wait, at most. Default 2.
    pub postgres_probe_connections: u32,
    /// Connections to Postgres for those who attach, at most: they cannot take those of who appends, nor those of the looks.
    /// Default 8.
    pub postgres_read_connections: u32,
    /// The longest time in milliseconds between two looks for the next turn of threads that are followed and idle, should a hint
    /// over NATS be lost; the shortest is a quarter of it. One look serves all of them. It is also how long a person who was removed
    /// from an org may go on to follow an idle thread when that hint is lost. At least 1. Default 60 s.
    pub thread_look_ms: u64,
    /// How long one statement for somebody who attaches may take, in milliseconds; one that takes longer answers UNAVAILABLE.
    /// Default 1 s.
    pub postgres_read_timeout_ms: u64,
    /// NATS: one or more servers of a cluster, with commas between. Required.
    pub nats_url: String,
    /// How the streams in NATS are made, and how large they are at least. What is absent is not changed on a stream that is
    /// there.
    pub bus: StreamChoices,
    /// The key that the mesh shares, as hexadecimal digits. This or `mesh_key_file` is required.
    pub mesh_key: Option<MeshKey>,
    /// A file with that key.
    pub mesh_key_file: Option<PathBuf>,
    /// Streams that one person may have attached at this relay. Default 50.
    pub viewers_per_user_max: u32,
    /// Streams that may be attached at this relay. Default 20,000.
    pub viewers_max: u32,
    /// Bounds of what runs at once, as the orchestrators have them: they say what keeps a run waiting.
    pub queues: Queues,
    /// Whether reflection is served. Default off.
    pub reflection: bool,
    /// The listener.
    pub server: ServerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7433".into(),
            admin_listen: String::new(),
            postgres_url: SecretString::from(String::new()),
            postgres_connections: 4,
            postgres_probe_connections: 2,
            postgres_read_connections: 8,
            postgres_read_timeout_ms: 1_000,
            thread_look_ms: u64::try_from(limits::THREAD_LOOK.as_millis()).unwrap_or(u64::MAX),
            nats_url: String::new(),
            bus: StreamChoices::default(),
            mesh_key: None,
            mesh_key_file: None,
            viewers_per_user_max: 50,
            viewers_max: 20_000,
            queues: Queues::default(),
            reflection: false,
            server: ServerConfig::default(),
        }
    }
}
