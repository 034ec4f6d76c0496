//! Connections that are cut, not closed with a word: what a killed gateway looks like.

use crate::frames::{cursor, end, events, last, log, run};
use crate::script::{Scene, Server, Then};
use runmesh_client::history::History;
use runmesh_client::pb::stream::attach_run_request::From;
use runmesh_client::pb::stream::end::Reason as End;
use runmesh_client::{Client, ClientError, Options, Start, Update};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// Passes bytes on, until told to drop every connection; then takes new ones.
struct Proxy {
    address: String,
    cut: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let cut = Arc::new(Notify::new());
        let task = tokio::spawn(pass(listener, server.address.replace("http://", ""), Arc::clone(&cut)));
        Self { address, cut, task }
    }
}

async fn pass(listener: TcpListener, to: String, cut: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut near, _) = accepted.unwrap();
                let to = to.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    // An error here is the cut itself.
                    let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
            () = cut.notified() => connections.abort_all(),
        }
    }
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let server = Server::playing([
        Scene::Play(vec![events(1, 3)], Then::Hang),
        Scene::Play(vec![events(4, last()), end(End::Finished)], Then::Hang),
    ])
    .await;
    let proxy = Proxy::before(&server).await;
    let client = Client::connect(&proxy.address, Options::default()).unwrap();
    let mut follow = client.follow(run(), Start::Beginning);
    let mut history = History::default();
    let first = follow.next().await.unwrap().unwrap();
    history.take(&first);
    proxy.cut.notify_one();
    let broken = follow.next().await.unwrap().unwrap();
    assert!(matches!(&broken, Update::Reconnecting { error: ClientError::Unreachable { .. } }), "{broken:?}");
    while let Some(update) = follow.next().await {
        history.take(&update.unwrap());
    }
    assert_eq!(history.check(Some(1)), Ok(()));
    assert_eq!(history.events().len(), log().len());
    assert_eq!(server.attaches()[1], Some(From::Cursor(cursor(3))));
}
