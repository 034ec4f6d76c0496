//! A port in front of Postgres that counts statements, and may let few of them through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The message by which a client asks whether it may encrypt.
const ENCRYPTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub struct Port {
    pub url: String,
    statements: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Port {
    /// In front of the server that `url` names. A connection gets one statement through in each `pace`, and as many as it likes without.
    pub async fn before(url: &str, pace: Option<Duration>) -> Self {
        let (credentials, rest) = url.rsplit_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let target: SocketAddr = server.replace("localhost", "127.0.0.1").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{database}", listener.local_addr().unwrap());
        let statements = Arc::<AtomicUsize>::default();
        let mut task = JoinSet::new();
        task.spawn(run(listener, target, Arc::clone(&statements), pace));
        Self { url, statements, _task: task }
    }

    /// Statements so far, BEGIN and COMMIT among them.
    pub fn statements(&self) -> usize {
        self.statements.load(Ordering::SeqCst)
    }
}

async fn run(listener: TcpListener, target: SocketAddr, statements: Arc<AtomicUsize>, pace: Option<Duration>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(pass(near, target, Arc::clone(&statements), pace));
    }
}

async fn pass(near: TcpStream, target: SocketAddr, statements: Arc<AtomicUsize>, pace: Option<Duration>) {
    let far = TcpStream::connect(target).await.unwrap();
    let ((said, mut answered), (mut answers, asked)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pass_requests(said, asked, &statements, pace) => {}
        _ = copy(&mut answers, &mut answered) => {}
    }
}

async fn pass_requests(
    mut said: OwnedReadHalf,
    mut asked: OwnedWriteHalf,
    statements: &AtomicUsize,
    pace: Option<Duration>,
) -> std::io::Result<()> {
    let mut pace = pace.map(tokio::time::interval);
    pace.iter_mut().for_each(|pace| pace.set_missed_tick_behavior(MissedTickBehavior::Delay));
    // The first messages have no kind.
    while body(&mut said, &mut asked, &[]).await? == ENCRYPTION {}
    loop {
        let kind = said.read_u8().await?;
        if matches!(kind, b'Q' | b'E') {
            statements.fetch_add(1, Ordering::SeqCst);
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
        }
        body(&mut said, &mut asked, &[kind]).await?;
    }
}

/// Passes on a message whose kind was read; its length and its body.
async fn body(said: &mut OwnedReadHalf, asked: &mut OwnedWriteHalf, kind: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    said.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
    message.resize(length as usize, 0);
    said.read_exact(&mut message[4..]).await?;
    asked.write_all(&[kind, &message].concat()).await?;
    Ok(message)
}
