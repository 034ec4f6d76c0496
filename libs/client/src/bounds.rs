//! Every bound of the client, each with its why. What a caller may change is in [`crate::Options`].

use std::time::Duration;

/// How long a unary call may take, its retries included, unless the caller says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a follower tries without hearing anything before it gives up, unless the caller says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long one try to connect may take: a host that drops packets must not use up a whole deadline.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);
/// How long the answer to an attach may take to begin; the first frame comes at once.
pub(crate) const ATTACH_OPEN: Duration = Duration::from_secs(10);
/// How long a stream may be silent: three times the relay's sign of life.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
/// Tries of one unary call, the first included. With the backoff below about three seconds, in which a replica is replaced.
pub(crate) const TRIES_MAX: u32 = 6;
/// The first pause between tries.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between tries.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(3);
/// The longest pause that a server may ask for with RetryInfo.
pub(crate) const PAUSE_ASKED_MAX: Duration = Duration::from_secs(30);
/// Attachments in a row whose events do not join what the follower holds before it calls that a broken protocol.
pub(crate) const MISMATCHES_MAX: u32 = 3;
/// Connections for streams: a server takes a bounded number of streams on each, and further ones would wait silently.
pub(crate) const STREAM_CONNECTIONS: usize = 4;
/// How often an idle connection is pinged.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Receive window of one stream: enough for 13 MB/s from a gateway that is 20 ms away.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Streams that a gateway takes on one connection unless it is configured otherwise.
const STREAMS_PER_CONNECTION: u32 = 1_024;
/// Receive window of a connection: the sum of its streams' windows, so that streams which nobody reads never hold up the others. An
/// allowance, not memory: it is used only as far as this process does not read what it asked for.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_PER_CONNECTION;
