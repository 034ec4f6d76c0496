//! A TCP proxy before a NATS server that can be cut, or lose messages: a relay behind it loses what others keep.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy};
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
}

pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of `nats://…`.
    pub async fn before(nats_url: &str) -> Self {
        let target: SocketAddr = nats_url.trim_start_matches("nats://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mode) = (listener.local_addr().unwrap(), watch::Sender::new(Mode::Open));
        let mut task = JoinSet::new();
        task.spawn(run(listener, target, mode.subscribe()));
        Self { address, mode, _task: task }
    }

    /// Breaks every connection, and the new ones too, until it is mended.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Loses every message of a live log, until it is mended.
    pub fn lose_messages(&self) {
        self.mode.send_replace(Mode::Lossy);
    }

    pub fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn run(listener: TcpListener, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *mode.borrow() != Mode::Cut {
            connections.spawn(pass(near, target, mode.clone()));
        }
    }
}

async fn pass(near: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((mut said, heard), (answers, mut asked)) = (near.into_split(), far.into_split());
    let lossy = mode.clone();
    tokio::select! {
        _ = copy(&mut said, &mut asked) => {}
        _ = pass_answers(answers, heard, lossy) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// What the server says, line by line; a message has a body behind its line.
async fn pass_answers(answers: OwnedReadHalf, mut heard: OwnedWriteHalf, mode: watch::Receiver<Mode>) -> io::Result<()> {
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
        heard.write_all(&answer).await?;
    }
}
