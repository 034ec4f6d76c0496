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
    /// Streams of one connection, at most 8,191; a client that needs more opens another. Each may have 256 KiB of its request unread,
    /// all at once. Default 1,024.
    pub max_concurrent_streams: u32,
    /// Bytes of one request's headers. Default 16 KiB.
    pub max_header_list_size: u32,
    /// Calls with a class deadline in progress; more are refused at once. Default 2,048.
    pub max_calls: usize,
    /// Calls without one (long streams) in progress; more are refused at once. Default 20,000.
    pub max_streams: usize,
    /// Health watches open at once, from everybody; more are refused. Default 4,096: one for each balancer's connection.
    pub max_watches: usize,
    /// Reflection streams open at once, from everybody; more are refused. Default 64: tools of developers.
    pub max_reflections: usize,
    /// Health and reflection calls of one connection that are open or wait for their request; more are refused. Default 32: a
    /// watch for each service and some to spare.
    pub max_open_health_per_connection: usize,
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
    /// How long the reader of an answer may take nothing of it; then its stream is reset, and what it holds is free again. One that
    /// takes 16 KiB in this time is left alone. `none` for as long as it likes. Default 60 s.
    #[serde(deserialize_with = "duration::option::deserialize")]
    pub write_stall_limit: Option<Duration>,
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
            max_watches: 4_096,
            max_reflections: 64,
            max_open_health_per_connection: 32,
            drain_delay: Duration::ZERO,
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            max_connection_age_grace: None,
            write_stall_limit: Some(Duration::from_secs(60)),
            grpc_web: false,
            cors_origins: Vec::new(),
        }
    }
}
