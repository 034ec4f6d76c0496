//! A link to a server that can be cut off without a word, as a frozen process or a network that swallows packets does it:
//! connections stay open and new ones are taken, and nothing comes back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Link {
    pub url: String,
    flows: watch::Sender<bool>,
    said: Said,
}

/// When something came from the server last.
type Said = Arc<Mutex<Instant>>;

impl Link {
    /// A link to `server` that works.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (flows, flowing) = watch::channel(true);
        let said: Said = Arc::new(Mutex::new(Instant::now()));
        let last = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(join(near, server, flowing.clone(), Arc::clone(&last)));
            }
        });
        Self { url, flows, said }
    }

    pub fn freeze(&self) {
        self.flows.send_replace(false);
    }

    /// How long nothing has come from the server.
    pub fn silent_for(&self) -> Duration {
        self.said.lock().unwrap().elapsed()
    }

    pub fn thaw(&self) {
        self.flows.send_replace(true);
    }
}

async fn join(near: TcpStream, server: SocketAddr, mut flowing: watch::Receiver<bool>, said: Said) {
    // Gone with the test.
    if flowing.wait_for(|flows| *flows).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let note = move || *said.lock().unwrap() = Instant::now();
    tokio::join!(pass(near_in, far_out, flowing.clone(), || ()), pass(far_in, near_out, flowing, note));
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flowing: watch::Receiver<bool>, note: impl Fn()) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if flowing.wait_for(|flows| *flows).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        note();
    }
    // The other side learns of the end; one that is gone already need not.
    let _gone = to.shutdown().await;
}
