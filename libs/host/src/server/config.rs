//! Bounds and times of a server. Every default says why.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{duration, list};

/// Settings of one listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Open connections; more wait in the kernel's queue. Default 10,000.
    pub max_connections: usize,
    /// Streams of one connection; a client that needs more opens another. Default 1,024.
    pub max_concurrent_streams: u32,
    /// Bytes of one request's headers. Default 16 KiB.
    pub max_header_list_size: u32,
    /// Calls with a class deadline in progress; more are refused at once. Default 2,048.
    pub max_calls: usize,
    /// Calls without one (long streams) in progress; more are refused at once. Default 20,000.
    pub max_streams: usize,
    /// Time between NOT_SERVING and closing the listener, for load balancers to notice. Default 0: nobody is in front.
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain_delay: Duration,
    /// After this time (± 10 %) a connection gets GOAWAY, so that balancers of connections spread again; its streams go on.
    /// `none` for never. Default 30 minutes.
    #[serde(deserialize_with = "duration::option::deserialize")]
    pub max_connection_age: Option<Duration>,
    /// How long streams may go on after that. `none` (default) for as long as they like.
    #[serde(deserialize_with = "duration::option::deserialize")]
    pub max_connection_age_grace: Option<Duration>,
    /// Accept HTTP/1.1 and gRPC-Web. Only at the edge. Default off.
    pub grpc_web: bool,
    /// Origins a browser may call from; `*` for all. Default none.
    #[serde(deserialize_with = "list::deserialize")]
    pub cors_origins: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_concurrent_streams: 1_024,
            max_header_list_size: 16 * 1024,
            max_calls: 2_048,
            max_streams: 20_000,
            drain_delay: Duration::ZERO,
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            max_connection_age_grace: None,
            grpc_web: false,
            cors_origins: Vec::new(),
        }
    }
}
