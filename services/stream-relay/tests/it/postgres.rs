//! A port in front of Postgres that counts statements, and may let few of them through, or hold back those that say something.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The message by which a client asks whether it may encrypt.
const ENCRYPTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub struct Port {
    pub url: String,
    rules: Arc<Rules>,
    _task: JoinSet<()>,
}

/// What becomes of statements, and how many there were.
struct Rules {
    pace: Option<Duration>,
    /// Statements with this text are held back.
    held_text: watch::Sender<Option<&'static str>>,
    statements: AtomicUsize,
    /// Connections whose statement is or was held back.
    held: AtomicUsize,
}

impl Port {
    /// In front of the server that `url` names. A connection gets one statement through in each `pace`, and as many as it likes without.
    pub async fn before(url: &str, pace: Option<Duration>) -> Self {
        let (credentials, rest) = url.rsplit_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let target: SocketAddr = server.replace("localhost", "127.0.0.1").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{database}", listener.local_addr().unwrap());
        let held_text = watch::Sender::new(None);
        let rules = Arc::new(Rules { pace, held_text, statements: AtomicUsize::default(), held: AtomicUsize::default() });
        let mut task = JoinSet::new();
        task.spawn(run(listener, target, Arc::clone(&rules)));
        Self { url, rules, _task: task }
    }

    /// Statements so far, BEGIN and COMMIT among them.
    pub fn statements(&self) -> usize {
        self.rules.statements.load(Ordering::SeqCst)
    }

    /// From now on holds back every statement with this text, and with it its connection; with none, lets all of them through again.
    pub fn hold(&self, text: Option<&'static str>) {
        self.rules.held_text.send_replace(text);
    }

    /// How many statements were held back so far.
    pub fn held(&self) -> usize {
        self.rules.held.load(Ordering::SeqCst)
    }
}

async fn run(listener: TcpListener, target: SocketAddr, rules: Arc<Rules>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(pass(near, target, Arc::clone(&rules)));
    }
}

async fn pass(near: TcpStream, target: SocketAddr, rules: Arc<Rules>) {
    let far = TcpStream::connect(target).await.unwrap();
    let ((said, mut answered), (mut answers, asked)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pass_requests(said, asked, &rules) => {}
        _ = copy(&mut answers, &mut answered) => {}
    }
}

async fn pass_requests(mut said: OwnedReadHalf, mut asked: OwnedWriteHalf, rules: &Rules) -> std::io::Result<()> {
    let mut pace = rules.pace.map(tokio::time::interval);
    pace.iter_mut().for_each(|pace| pace.set_missed_tick_behavior(MissedTickBehavior::Delay));
    // The first messages have no kind.
    loop {
        let message = body(&mut said).await?;
        asked.write_all(&message).await?;
        if message != ENCRYPTION {
            break;
        }
    }
    let mut prepared = Prepared::default();
    loop {
        let kind = said.read_u8().await?;
        let message = body(&mut said).await?;
        if matches!(kind, b'Q' | b'E') {
            rules.statements.fetch_add(1, Ordering::SeqCst);
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
        }
        rules.let_through(prepared.text_of(kind, &message)).await;
        asked.write_all(&[&[kind], message.as_slice()].concat()).await?;
    }
}

impl Rules {
    /// Waits while statements with this text are held back.
    async fn let_through(&self, text: Option<String>) {
        let Some(text) = text else { return };
        let passes = |held: &Option<&str>| held.is_none_or(|held| !text.contains(held));
        let mut held_text = self.held_text.subscribe();
        if !passes(&held_text.borrow()) {
            self.held.fetch_add(1, Ordering::SeqCst);
        }
        let _open = held_text.wait_for(passes).await;
    }
}

/// The statements that a connection has prepared: each is said once, and named from then on.
#[derive(Default)]
struct Prepared(HashMap<Vec<u8>, String>);

impl Prepared {
    /// What the statement says that a message prepares or runs.
    fn text_of(&mut self, kind: u8, message: &[u8]) -> Option<String> {
        let mut words = message[4..].split(|byte| *byte == 0);
        let (first, second) = (words.next()?.to_vec(), words.next()?.to_vec());
        match kind {
            b'P' => {
                let text = String::from_utf8_lossy(&second).into_owned();
                self.0.insert(first, text.clone());
                Some(text)
            }
            b'B' => self.0.get(&second).cloned(),
            _ => None,
        }
    }
}

/// A message from its length on.
async fn body(said: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    said.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
    message.resize(length as usize, 0);
    said.read_exact(&mut message[4..]).await?;
    Ok(message)
}
