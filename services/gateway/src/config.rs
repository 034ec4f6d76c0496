//! What a gateway is told at start. Everything is checked before anything is bound; secrets do not print.

mod jwt;
mod secret;

use std::path::PathBuf;

use runmesh_host::ServerConfig;
use runmesh_host::config::list;
use runmesh_host::signed::MeshKey;
use serde::Deserialize;

pub use jwt::JwtConfig;
pub(crate) use jwt::Keys;
pub(crate) use secret::secret;

use crate::serve::ServeError;

/// Settings of a gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address to serve on. Default `127.0.0.1:7420`.
    pub listen: String,
    /// Address of the admin port; none when empty.
    pub admin_listen: String,
    /// Addresses of run-orchestrators, as [`UpstreamConfig`](runmesh_host::UpstreamConfig) writes them.
    #[serde(deserialize_with = "list::deserialize")]
    pub orchestrators: Vec<String>,
    /// Addresses of approval services.
    #[serde(deserialize_with = "list::deserialize")]
    pub approvals: Vec<String>,
    /// Addresses of stream-relays.
    #[serde(deserialize_with = "list::deserialize")]
    pub relays: Vec<String>,
    /// Addresses of summary services.
    #[serde(deserialize_with = "list::deserialize")]
    pub summaries: Vec<String>,
    /// The key that the mesh shares, as hexadecimal digits. This or `mesh_key_file` is required.
    pub mesh_key: Option<MeshKey>,
    /// A file with that key.
    pub mesh_key_file: Option<PathBuf>,
    /// Development: a call without credentials from this very machine is user `you`, of org `dev` unless it names another org that
    /// `you` are a member of. Default off.
    pub dev: bool,
    /// Tokens of people. Required unless `dev`.
    pub jwt: Option<JwtConfig>,
    /// How much a caller may ask for.
    pub limits: Limits,
    /// Whether reflection is served. Default off: it tells callers more than they need.
    pub reflection: bool,
    /// Whether browsers are served, by gRPC-Web and HTTP/1.1. Default on; takes the place of `server.grpc_web`.
    pub grpc_web: bool,
    /// The listener.
    pub server: ServerConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let local = |port: u16| vec![format!("http://127.0.0.1:{port}")];
        Self {
            listen: "127.0.0.1:7420".into(),
            admin_listen: String::new(),
            orchestrators: local(7431),
            approvals: local(7432),
            relays: local(7433),
            summaries: local(7434),
            mesh_key: None,
            mesh_key_file: None,
            dev: false,
            jwt: None,
            limits: Limits::default(),
            reflection: false,
            grpc_web: true,
            server: ServerConfig::default(),
        }
    }
}

impl GatewayConfig {
    /// The mesh's key, from wherever it is.
    pub(crate) fn key(&self) -> Result<MeshKey, ServeError> {
        secret("mesh_key", self.mesh_key.as_ref(), self.mesh_key_file.as_deref())
    }
}

/// How much one caller may ask for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls a second of one user in the long run; 0 for as many as they like. Default 200: a busy script, not a person.
    pub calls_per_second: u32,
    /// Calls of one user at once, after a quiet time. Default 400.
    pub calls_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls_per_second: 200, calls_burst: 400 }
    }
}
