//! A TCP proxy that can be cut: a relay behind it loses its server while others keep theirs.

use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub struct Proxy {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of `nats://…`.
    pub async fn before(nats_url: &str) -> Self {
        let target: SocketAddr = nats_url.trim_start_matches("nats://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), watch::Sender::new(true));
        let mut task = JoinSet::new();
        task.spawn(run(listener, target, open.subscribe()));
        Self { address, open, _task: task }
    }

    /// Breaks every connection, and the new ones too, until it is mended.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn run(listener: TcpListener, target: SocketAddr, open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *open.borrow() {
            connections.spawn(pass(near, target, open.clone()));
        }
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
