//! A port that passes everything on to Postgres and counts the statements: messages Query and Execute of the frontend
//! protocol. BEGIN, COMMIT and settings are statements too. Changes nothing and reads no contents.

use super::failed;
use crate::failure::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Codes that may come before a session's start: it asks whether it may encrypt.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];
/// Connections of one replica at most, with room.
const CONNECTIONS_MAX: usize = 256;
/// A longer message than any service sends.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// A counting port.
#[derive(Debug)]
pub(super) struct Counter {
    count: Arc<AtomicU64>,
    url: String,
    serving: JoinHandle<()>,
}

impl Counter {
    /// Opens the port, in front of the server that `url` names.
    pub(super) async fn start(url: &str) -> Result<Self, Failure> {
        let address = url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).map(|(address, _)| address.to_owned());
        let server = address.ok_or_else(|| failed("postgres", "its url names no address"))?;
        let listener = crate::serve::bind("127.0.0.1:0").await?;
        let own = listener.local_addr().map_err(|error| failed("address", error))?.to_string();
        let (url, count) = (url.replace(&server, &own), Arc::new(AtomicU64::new(0)));
        let serving = tokio::spawn(serve(listener, server, Arc::clone(&count)));
        Ok(Self { count, url, serving })
    }

    /// The URL by which a service is counted.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Statements so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Closes the port and everything that went through it.
    pub(super) async fn stop(self) {
        self.serving.abort();
        // Aborted on purpose: how it ended says nothing.
        drop(self.serving.await);
    }
}

async fn serve(listener: TcpListener, server: String, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(pass(client, server.clone(), Arc::clone(&count)));
            }
        }
    }
}

/// Ends with either side.
async fn pass(client: TcpStream, server: String, count: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Without it, small messages would wait for each other; a socket that refuses is only slower.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let ((from_client, mut to_client), (mut from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = requests(from_client, to_server, &count) => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: &AtomicU64) -> std::io::Result<()> {
    while ENCRYPTION_REQUESTS.contains(&message(&mut from, &mut to, &[]).await?) {}
    loop {
        let kind = from.read_u8().await?;
        if matches!(kind, b'Q' | b'E') {
            count.fetch_add(1, Ordering::Relaxed);
        }
        message(&mut from, &mut to, &[kind]).await?;
    }
}

/// Passes on one message after its kind, if it has one; the first four bytes of its body.
async fn message(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, kind: &[u8]) -> std::io::Result<u32> {
    let length = from.read_u32().await?;
    if !(4..MESSAGE_BYTES_MAX).contains(&length) {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut whole = Vec::with_capacity(length as usize + 1);
    whole.extend_from_slice(kind);
    whole.extend_from_slice(&length.to_be_bytes());
    let body = whole.len();
    whole.resize(body + length as usize - 4, 0);
    from.read_exact(&mut whole[body..]).await?;
    to.write_all(&whole).await?;
    Ok(whole.get(body..body + 4).map_or(0, |code| code.iter().fold(0, |all, byte| all << 8 | u32::from(*byte))))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// A message of the frontend: its kind, if it has one, its length, its body.
    fn framed(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [kind, &length, body].concat()
    }

    #[tokio::test]
    async fn everything_passes_and_statements_are_counted() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counter = Counter::start(&format!("postgres://me@{}/db", server.local_addr().unwrap())).await.unwrap();
        let port = counter.url().rsplit_once('@').unwrap().1.strip_suffix("/db").unwrap().to_owned();
        let messages = [
            framed(b"", &ENCRYPTION_REQUESTS[0].to_be_bytes()),
            framed(b"", b"\x00\x03\x00\x00user\0me\0\0"),
            framed(b"Q", b"BEGIN\0"),
            framed(b"P", b"\0SELECT 1\0\0\0"),
            framed(b"E", b"\0\0\0\0\0"),
            framed(b"S", b""),
        ];
        let sent = messages.concat();
        let mut client = TcpStream::connect(port).await.unwrap();
        client.write_all(&sent).await.unwrap();
        let (mut behind, _) = server.accept().await.unwrap();
        let mut came = vec![0; sent.len()];
        behind.read_exact(&mut came).await.unwrap();
        assert_eq!(came, sent);
        assert_eq!(counter.count(), 2);
        counter.stop().await;
    }
}
