//! What a run-orchestrator is told at start.

use runmesh_bus::StreamChoices;
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::limits::{Leases, Queues};
use runmesh_host::ServerConfig;
use runmesh_host::config::list;
use runmesh_host::signed::MeshKey;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// What this replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves and drives runs.
    #[default]
    All,
    /// Serves only; workers elsewhere drive the runs.
    Api,
    /// Serves, for its own worker above all, and drives runs.
    Worker,
}

/// Settings of a run-orchestrator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to serve on. Default `127.0.0.1:7431`.
    pub listen: String,
    /// Address of the admin port; none when empty.
    pub admin_listen: String,
    /// Postgres. Required.
    pub postgres_url: SecretString,
    /// Connections to Postgres for commands, at most. Claims, sweeps and marks have four more of their own, and heartbeats two. Default 16.
    pub postgres_connections: u32,
    /// Connections to Postgres for what people read, at most: lists cannot take those of commands. Default 8.
    pub postgres_read_connections: u32,
    /// How long one statement of such a read may take, in milliseconds; one that takes longer answers UNAVAILABLE. Default 1 s.
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
    /// What this replica does.
    pub role: Role,
    /// Addresses of stream-relays, for the built-in worker.
    #[serde(deserialize_with = "list::deserialize")]
    pub relays: Vec<String>,
    /// The model of agents that name none.
    pub default_model: Option<String>,
    /// The built-in worker.
    pub worker: BuiltinWorker,
    /// The clockwork of leases.
    pub leases: Leases,
    /// Bounds of queues.
    pub queues: Queues,
    /// Names of orgs to make at start when they are not there yet. One that was deleted stays so.
    #[serde(deserialize_with = "list::deserialize")]
    pub orgs: Vec<String>,
    /// Their first admins, each as `issuer|subject`, as the tokens of people name them.
    #[serde(deserialize_with = "list::deserialize")]
    pub org_admins: Vec<String>,
    /// Who else may make orgs, by CreateOrg: persons as above, or `*` for everybody who has credentials. Default nobody.
    #[serde(deserialize_with = "list::deserialize")]
    pub org_creators: Vec<String>,
    /// The agent `default` of orgs that are made.
    pub default_agent: AgentSpec,
    /// Whether reflection is served. Default off.
    pub reflection: bool,
    /// The listener.
    pub server: ServerConfig,
}

/// Settings of the worker inside a replica.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuiltinWorker {
    /// Its name for people; the host's name when empty.
    pub name: String,
    /// Runs that it drives at once. Default 64.
    pub capacity: u32,
    /// Base URL of an OpenAI-compatible endpoint, `https://…/v1`.
    pub model_url: String,
    /// The endpoint's key.
    pub model_key: Option<SecretString>,
    /// A file with that key.
    pub model_key_file: Option<PathBuf>,
    /// Whether tools may call addresses that are not of the public Internet. Default no: whoever writes agents could reach
    /// whatever this process can.
    pub private_addresses: bool,
    /// How long a drain waits for calls that cannot be repeated, in milliseconds. Default 10 s.
    pub drain_grace_ms: u64,
}

impl Default for BuiltinWorker {
    fn default() -> Self {
        Self {
            name: String::new(),
            capacity: 64,
            model_url: String::new(),
            model_key: None,
            model_key_file: None,
            private_addresses: false,
            drain_grace_ms: 10_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7431".into(),
            admin_listen: String::new(),
            postgres_url: SecretString::from(String::new()),
            postgres_connections: 16,
            postgres_read_connections: 8,
            postgres_read_timeout_ms: 1_000,
            nats_url: String::new(),
            bus: StreamChoices::default(),
            mesh_key: None,
            mesh_key_file: None,
            role: Role::All,
            relays: Vec::new(),
            default_model: None,
            worker: BuiltinWorker::default(),
            leases: Leases::default(),
            queues: Queues::default(),
            orgs: Vec::new(),
            org_admins: Vec::new(),
            org_creators: Vec::new(),
            default_agent: AgentSpec::default(),
            reflection: false,
            server: ServerConfig::default(),
        }
    }
}
