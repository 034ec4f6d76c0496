//! A way to Postgres that can lose the server's answer to one COMMIT: the transaction is committed, and nobody learns of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a client asks for before it says who it is, when it would like TLS.
const SSL_REQUEST: i32 = 80_877_103;
/// The largest message that is passed on.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// The proxy. It ends when this is dropped.
pub struct LostCommit {
    address: SocketAddr,
    shared: Arc<Shared>,
    _connections: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// What the transaction says whose COMMIT gets no answer.
    marker: Mutex<Option<Vec<u8>>>,
    lost: AtomicUsize,
}

impl LostCommit {
    /// A proxy before the server of that URL.
    pub(crate) async fn start(postgres_url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let (server, state) = (host_of(postgres_url).to_owned(), Arc::clone(&shared));
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), Arc::clone(&state));
                open.spawn(async move {
                    // A connection that ends in whatever way is no more than that.
                    let _ = pass(client, &server, &state).await;
                });
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, shared, _connections: connections }
    }

    /// The way through the proxy to the database of that URL.
    pub(crate) fn url(&self, postgres_url: &str) -> String {
        postgres_url.replace(host_of(postgres_url), &self.address.to_string())
    }

    /// The next COMMIT of a transaction that sent `marker` to the server gets no answer.
    pub fn lose_commit_of(&self, marker: &str) {
        *self.shared.marker.lock().unwrap_or_else(PoisonError::into_inner) = Some(marker.as_bytes().to_vec());
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn is_marked(&self, message: &[u8]) -> bool {
        let marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        marker.as_ref().is_some_and(|marker| message.windows(marker.len()).any(|window| window == marker))
    }

    /// True for one COMMIT of those that were marked.
    fn take(&self) -> bool {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

fn host_of(postgres_url: &str) -> &str {
    let rest = postgres_url.rsplit_once('@').map_or(postgres_url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

async fn pass(client: TcpStream, server: &str, shared: &Shared) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut hello = hello_of(&mut from_client).await?;
    if hello.get(4..8) == Some(SSL_REQUEST.to_be_bytes().as_slice()) {
        to_server.write_all(&hello).await?;
        to_client.write_u8(from_server.read_u8().await?).await?;
        hello = hello_of(&mut from_client).await?;
    }
    to_server.write_all(&hello).await?;
    let losing = AtomicBool::new(false);
    let asks = async {
        let mut marked = false;
        loop {
            let message = message_of(&mut from_client).await?;
            marked |= shared.is_marked(&message);
            if message.starts_with(b"Q") && message.get(5..) == Some(b"COMMIT\0".as_slice()) {
                if marked && shared.take() {
                    losing.store(true, Ordering::SeqCst);
                }
                marked = false;
            }
            to_server.write_all(&message).await?;
        }
    };
    let answers = answer(&mut from_server, &mut to_client, &losing, shared);
    tokio::select! {
        ended = asks => ended,
        ended = answers => ended,
    }
}

/// Passes answers on until the one that is lost; the connection ends with that.
async fn answer(
    from_server: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    losing: &AtomicBool,
    shared: &Shared,
) -> std::io::Result<()> {
    loop {
        let message = message_of(from_server).await?;
        match (losing.load(Ordering::SeqCst), message.first()) {
            (false, _) => to_client.write_all(&message).await?,
            // Ready for the next: the transaction is over.
            (true, Some(b'Z')) => {
                shared.lost.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            (true, _) => {}
        }
    }
}

/// A message before the connection is set up, which is without a kind.
async fn hello_of(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = from.read_i32().await?;
    body(from, length.to_be_bytes().to_vec(), length).await
}

async fn message_of(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    let length = from.read_i32().await?;
    body(from, [&[kind], length.to_be_bytes().as_slice()].concat(), length).await
}

async fn body(from: &mut (impl AsyncRead + Unpin), mut message: Vec<u8>, length: i32) -> std::io::Result<Vec<u8>> {
    let rest = usize::try_from(length - 4).ok().filter(|rest| *rest <= MESSAGE_BYTES_MAX);
    let begin = message.len();
    message.resize(begin + rest.ok_or(std::io::ErrorKind::InvalidData)?, 0);
    if let Some(rest) = message.get_mut(begin..) {
        from.read_exact(rest).await?;
    }
    Ok(message)
}
