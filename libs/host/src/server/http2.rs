//! HTTP/2 settings that both sides of a hop share. Every value says why.

use std::time::Duration;

/// Receive window of one stream: far below the connection's, so that one slow reader cannot use it up.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Receive window of a connection: a thousand unread streams must not stall it. Costs nothing until it is used.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How often an idle connection is pinged.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// As [`KEEPALIVE_INTERVAL`], towards a backend: calls and streams on a link that swallows everything end within ten seconds.
pub(crate) const UPSTREAM_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// As [`KEEPALIVE_TIMEOUT`], towards a backend.
pub(crate) const UPSTREAM_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams reset before they were accepted: many viewers that leave at once on one connection are no attack.
pub(crate) const PENDING_RESETS_MAX: usize = 1_024;
