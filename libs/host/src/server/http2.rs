//! HTTP/2 settings that both sides of a hop share. Every value says why.

use std::time::Duration;

/// Receive window of one stream of a server: callers may be far away, and a message of 1 MiB should not take many round trips.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Receive window of one stream from a backend, which is near: 64 KiB in each millisecond is 64 MB/s. What streams that nobody reads
/// hold here at most: 20,000 of them 1.3 GB.
pub(crate) const UPSTREAM_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
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

/// The largest window that HTTP/2 knows (RFC 9113, section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// The receive windows of one side of a connection.
///
/// *Invariant:* the connection's window is the sum of the windows of all streams that it may carry. So streams whose receiver reads
/// nothing can use up their own windows and never the window of the streams beside them.
///
/// A window is an allowance, not an allocation. What bounds memory is how many calls a process admits, since only an admitted call
/// can leave bytes unread: `(max_calls + max_streams)` windows of a stream, however few connections they come over. One connection
/// can make a server hold at most [`Windows::connection`] bytes: 256 MiB by default, less than the messages of as many unary calls,
/// which are read whole. A caller without credentials is refused by its headers and holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Streams that the connection carries at most.
    pub(crate) streams: u32,
    /// Bytes that one stream may hold unread.
    pub(crate) stream: u32,
    /// Bytes that all streams together may hold unread.
    pub(crate) connection: u32,
}

impl Windows {
    /// The windows of at most `streams` streams of `stream` bytes each. There are fewer streams when the sum would be more than
    /// HTTP/2 allows, and never none.
    pub(crate) const fn of(stream: u32, streams: u32) -> Self {
        let most = WINDOW_BYTES_MAX / stream;
        let streams = if streams > most { most } else { streams };
        let streams = if streams == 0 { 1 } else { streams };
        Self { streams, stream, connection: stream * streams }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_room_for_the_windows_of_all_its_streams() {
        for stream in [STREAM_WINDOW_BYTES, UPSTREAM_STREAM_WINDOW_BYTES] {
            for streams in [0, 1, 500, 1_024, 8_191, 8_192, 32_767, 32_768, u32::MAX] {
                let windows = Windows::of(stream, streams);
                assert!((1..=streams.max(1)).contains(&windows.streams));
                assert_eq!(u64::from(windows.connection), u64::from(windows.stream) * u64::from(windows.streams));
                assert!(windows.connection <= WINDOW_BYTES_MAX);
            }
        }
        assert_eq!(Windows::of(UPSTREAM_STREAM_WINDOW_BYTES, 500).streams, 500, "no ordinary setting is cut");
    }
}
