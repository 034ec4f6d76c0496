//! The greeting of a NATS server: its INFO line. Never goes on to a session.

use std::io::{self, ErrorKind};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
};

use crate::limits::GREETING_BYTES_MAX;

/// The fields of INFO that matter at a start.
#[derive(Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) server_name: String,
    pub(crate) version: String,
    /// Left out by a server without JetStream.
    #[serde(default)]
    pub(crate) jetstream: bool,
}

/// Connects to `port` on loopback and reads the greeting.
pub(crate) async fn read(port: u16) -> io::Result<Info> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut line = String::new();
    BufReader::new(stream.take(GREETING_BYTES_MAX as u64)).read_line(&mut line).await?;
    parse(&line).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no nats server answers"))
}

fn parse(line: &str) -> Option<Info> {
    serde_json::from_str(line.strip_prefix("INFO ")?).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_nats_greeting_is_read() {
        let info = parse("INFO {\"server_name\":\"a\",\"version\":\"2.15.1\",\"jetstream\":true,\"port\":1} \r\n");
        assert!(info.is_some_and(|info| info.jetstream && info.version == "2.15.1"));
        let bare = parse("INFO {\"server_name\":\"a\",\"version\":\"2.15.1\"}\r\n");
        assert!(bare.is_some_and(|info| !info.jetstream));
        assert!(parse("HTTP/1.1 400 Bad Request\r\n").is_none());
        assert!(parse("").is_none());
    }
}
