//! A TCP proxy before a NATS server that can be cut, or lose messages: a relay behind it loses what others keep. Also before Postgres,
//! to be cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Nothing passes.
    Cut,
    /// Messages of live logs are lost.
    Lossy,
    /// What the server says is late.
    Slow,
}

pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    refused: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of `nats://…`.
    pub async fn before(nats_url: &str) -> Self {
        Self::to(nats_url.trim_start_matches("nats://").parse().unwrap(), true).await
    }

    /// In front of `postgres://…`, and the URL that leads there by this proxy.
    pub async fn before_postgres(url: &str) -> (Self, String) {
        let (head, rest) = url.rsplit_once('@').unwrap();
        let (host, database) = rest.split_once('/').unwrap();
        let proxy = Self::to(tokio::net::lookup_host(host).await.unwrap().next().unwrap(), false).await;
        let url = format!("{head}@{}/{database}", proxy.address);
        (proxy, url)
    }

    async fn to(target: SocketAddr, speaks_nats: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mode) = (listener.local_addr().unwrap(), watch::Sender::new(Mode::Open));
        let (mut task, refused) = (JoinSet::new(), Arc::<AtomicUsize>::default());
        task.spawn(run(listener, target, speaks_nats, mode.subscribe(), Arc::clone(&refused)));
        Self { address, mode, refused, _task: task }
    }

    /// How many connections were broken while it was cut.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Breaks every connection, and the new ones too, until it is mended.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Loses every message of a live log, until it is mended.
    pub fn lose_messages(&self) {
        self.mode.send_replace(Mode::Lossy);
    }

    /// Holds back what the server says, until it is mended.
    pub fn slow_down(&self) {
        self.mode.send_replace(Mode::Slow);
    }

    pub fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn run(
    listener: TcpListener,
    target: SocketAddr,
    speaks_nats: bool,
    mode: watch::Receiver<Mode>,
    refused: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *mode.borrow() == Mode::Cut {
            refused.fetch_add(1, Ordering::SeqCst);
        } else {
            connections.spawn(pass(near, target, speaks_nats, mode.clone()));
        }
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr, speaks_nats: bool, mut mode: watch::Receiver<Mode>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    if !speaks_nats {
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
        }
        return;
    }
    let ((mut said, heard), (answers, mut asked)) = (near.into_split(), far.into_split());
    let lossy = mode.clone();
    tokio::select! {
        _ = copy(&mut said, &mut asked) => {}
        _ = pass_answers(answers, heard, lossy) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// What the server says, line by line; a message has a body behind its line.
async fn pass_answers(answers: OwnedReadHalf, mut heard: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    let mut answers = BufReader::new(answers);
    loop {
        let mut answer = Vec::new();
        if answers.read_until(b'\n', &mut answer).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&answer).into_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["MSG" | "HMSG", subject, .., bytes] = words[..] {
            let mut body = vec![0; bytes.parse::<usize>().unwrap() + 2];
            answers.read_exact(&mut body).await?;
            if *mode.borrow() == Mode::Lossy && subject.starts_with("rm.live.") {
                continue;
            }
            answer.extend(body);
        }
        if mode.wait_for(|mode| *mode != Mode::Slow).await.is_err() {
            return Ok(());
        }
        heard.write_all(&answer).await?;
    }
}
