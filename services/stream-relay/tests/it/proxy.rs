//! A TCP proxy before a NATS server that can be cut, or lose messages: a relay behind it loses what others keep. Also before Postgres,
//! to be cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
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
    looks: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
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
        let (mut task, refused, looks) = (JoinSet::new(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let answered = Arc::<AtomicUsize>::default();
        let counts = speaks_nats.then(|| Counts { looks: Arc::clone(&looks), answered: Arc::clone(&answered) });
        let way = Way { target, counts, mode: mode.subscribe() };
        task.spawn(run(listener, way, Arc::clone(&refused)));
        Self { address, mode, refused, looks, answered, _task: task }
    }

    /// How many connections were broken while it was cut.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// How often the leader was asked for the end of a log.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// How many bytes NATS has answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
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

/// What is counted of a connection to NATS.
#[derive(Clone)]
struct Counts {
    /// Looks at logs.
    looks: Arc<AtomicUsize>,
    /// Bytes of answers.
    answered: Arc<AtomicUsize>,
}

/// Where connections lead, and what becomes of them.
#[derive(Clone)]
struct Way {
    target: SocketAddr,
    /// Absent when it is not NATS.
    counts: Option<Counts>,
    mode: watch::Receiver<Mode>,
}

async fn run(listener: TcpListener, way: Way, refused: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *way.mode.borrow() == Mode::Cut {
            refused.fetch_add(1, Ordering::SeqCst);
        } else {
            connections.spawn(pass(near, way.clone()));
        }
    }
}

async fn pass(mut near: TcpStream, Way { target, counts, mut mode }: Way) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let Some(Counts { looks, answered }) = counts else {
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
        }
        return;
    };
    let ((said, heard), (answers, asked)) = (near.into_split(), far.into_split());
    let lossy = mode.clone();
    tokio::select! {
        _ = pass_questions(said, asked, &looks) => {}
        _ = pass_answers(answers, heard, lossy, &answered) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// The next line, with the body behind it if it is a message, and the message's subject; none at the end.
async fn next(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<(Vec<u8>, Option<String>)>> {
    let mut whole = Vec::new();
    if from.read_until(b'\n', &mut whole).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&whole).into_owned();
    let words: Vec<_> = line.split_whitespace().collect();
    let ["MSG" | "HMSG" | "PUB" | "HPUB", subject, .., bytes] = words[..] else { return Ok(Some((whole, None))) };
    let mut body = vec![0; bytes.parse::<usize>().unwrap() + 2];
    from.read_exact(&mut body).await?;
    whole.extend(body);
    Ok(Some((whole, Some(subject.to_owned()))))
}

async fn pass_questions(said: OwnedReadHalf, mut asked: OwnedWriteHalf, looks: &AtomicUsize) -> io::Result<()> {
    let mut said = BufReader::new(said);
    while let Some((question, subject)) = next(&mut said).await? {
        if subject.is_some_and(|subject| subject.starts_with("$JS.API.STREAM.MSG.GET")) {
            looks.fetch_add(1, Ordering::SeqCst);
        }
        asked.write_all(&question).await?;
    }
    Ok(())
}

async fn pass_answers(
    answers: OwnedReadHalf,
    mut heard: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    answered: &AtomicUsize,
) -> io::Result<()> {
    let mut answers = BufReader::new(answers);
    while let Some((answer, subject)) = next(&mut answers).await? {
        let is_live = subject.is_some_and(|subject| subject.starts_with("rm.live."));
        if is_live && *mode.borrow() == Mode::Lossy {
            continue;
        }
        if mode.wait_for(|mode| *mode != Mode::Slow).await.is_err() {
            return Ok(());
        }
        answered.fetch_add(answer.len(), Ordering::SeqCst);
        heard.write_all(&answer).await?;
    }
    Ok(())
}
