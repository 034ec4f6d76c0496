//! What a summary service is told at start.

use runmesh_domain::limits::Leases;
use runmesh_host::ServerConfig;
use runmesh_host::signed::MeshKey;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// Settings of a summary service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to serve on. Default `127.0.0.1:7434`.
    pub listen: String,
    /// Address of the admin port; none when empty.
    pub admin_listen: String,
    /// Postgres. Required.
    pub postgres_url: SecretString,
    /// Connections to Postgres for commands, at most. Default 4.
    pub postgres_connections: u32,
    /// Connections to Postgres for what people read, at most: lists cannot take those of commands. Default 4.
    pub postgres_read_connections: u32,
    /// How long one statement of such a read may take, in milliseconds; one that takes longer answers UNAVAILABLE. Default 1 s.
    pub postgres_read_timeout_ms: u64,
    /// The key that the mesh shares, as hexadecimal digits. This or `mesh_key_file` is required.
    pub mesh_key: Option<MeshKey>,
    /// A file with that key.
    pub mesh_key_file: Option<PathBuf>,
    /// The clockwork of leases: it says which runs have a live one.
    pub leases: Leases,
    /// Whether reflection is served. Default off.
    pub reflection: bool,
    /// The listener.
    pub server: ServerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7434".into(),
            admin_listen: String::new(),
            postgres_url: SecretString::from(String::new()),
            postgres_connections: 4,
            postgres_read_connections: 4,
            postgres_read_timeout_ms: 1_000,
            mesh_key: None,
            mesh_key_file: None,
            leases: Leases::default(),
            reflection: false,
            server: ServerConfig::default(),
        }
    }
}
