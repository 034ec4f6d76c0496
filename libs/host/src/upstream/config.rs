//! Addresses and bounds of an upstream.

use std::time::Duration;

use crate::server::http2::{UPSTREAM_STREAM_WINDOW_BYTES, Windows};

/// What kind of calls an upstream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One message in: the request is read whole, so it can be sent again.
    Unary,
    /// The request may last as long as the call: it is sent again only while nothing of it was read.
    Streaming,
}

/// How to reach a service. Made by [`UpstreamConfig::unary`] or [`UpstreamConfig::streaming`], then adjusted.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Name for logs and metrics, such as `approval`.
    pub name: String,
    /// `http://host:port` for one backend each, or `dns:///host:port` for one per address of the name, looked up again and again.
    pub urls: Vec<String>,
    /// What kind of calls.
    pub mode: Mode,
    /// Time to connect. Default 2 s.
    pub connect_timeout: Duration,
    /// Time between look-ups of names, and between looks at backends that work. Default 5 s.
    pub resolve_every: Duration,
    /// Largest request of a unary call, bytes. Default 1 MiB + 64 KiB.
    pub request_bytes_max: usize,
    /// Calls on one connection before another is opened, at most 32,767, and no more than the backends take. Default 200 unary, 500
    /// streaming. Each may have 64 KiB of its answer unread, all at once.
    pub calls_per_connection: usize,
    /// Connections to one backend; when all are full a call is refused. Default 4 unary, 64 streaming.
    pub connections_max: usize,
}

impl UpstreamConfig {
    /// For unary calls to `urls`.
    #[must_use]
    pub fn unary(name: &str, urls: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            urls,
            mode: Mode::Unary,
            connect_timeout: Duration::from_secs(2),
            resolve_every: Duration::from_secs(5),
            request_bytes_max: 1024 * 1024 + 64 * 1024,
            calls_per_connection: 200,
            connections_max: 4,
        }
    }

    /// For streams to `urls`.
    #[must_use]
    pub fn streaming(name: &str, urls: Vec<String>) -> Self {
        Self { mode: Mode::Streaming, calls_per_connection: 500, connections_max: 64, ..Self::unary(name, urls) }
    }

    /// The windows of one connection.
    pub(super) fn windows(&self) -> Windows {
        Windows::of(UPSTREAM_STREAM_WINDOW_BYTES, u32::try_from(self.calls_per_connection).unwrap_or(u32::MAX))
    }

    /// Calls on one connection: as many as its windows are made for.
    pub(super) fn calls_per_connection(&self) -> usize {
        self.windows().streams as usize
    }
}

/// Why an upstream could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// There is no address.
    #[error("upstream {0} has no address")]
    Empty(String),
    /// An address is not `http://host:port` or `dns:///host:port`.
    #[error("upstream {name}: `{url}` is neither http://host:port nor dns:///host:port")]
    Address {
        /// The upstream.
        name: String,
        /// The address.
        url: String,
    },
}
