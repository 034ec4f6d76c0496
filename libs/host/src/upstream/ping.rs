//! Asks a backend for a sign of life: a new connection, the HTTP/2 settings, and one PING. A process that stands still takes
//! connections (its kernel does) and answers no PING. Calls no method, so it leaves no trace in the backend's spans and metrics.

use std::io;

use h2::Ping;
use tokio::net::TcpStream;

/// Ends when the backend at `address` has answered. Has no time-out of its own.
///
/// # Errors
///
/// When there is no connection, or it ended before the answer.
pub(super) async fn ping(address: &str) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (_requests, mut connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    let Some(mut pings) = connection.ping_pong() else { return Err(io::ErrorKind::Unsupported.into()) };
    tokio::select! {
        pong = pings.ping(Ping::opaque()) => pong.map(drop).map_err(io::Error::other),
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::ConnectionReset.into(), io::Error::other)),
    }
}
