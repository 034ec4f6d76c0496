//! Connections, each to a server of its own.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};

/// A connection to a server of the test's own.
pub(crate) struct Opened {
    pub(crate) _nats: NatsServer,
    pub(crate) config: Arc<BusConfig>,
    pub(crate) healer: Healer,
    pub(crate) connection: Connection,
}

pub(crate) async fn opened() -> Opened {
    let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let config = Arc::new(BusConfig::new(nats.url(), "test"));
    let healer = Healer::new(Arc::clone(&config));
    let connection = Connection::open(&config, healer.clone(), "test", limits::SUBSCRIPTION).await.unwrap();
    Opened { _nats: nats, config, healer, connection }
}

/// While nobody leads there is no answer, and the server that is elected does not know what was asked before.
#[tokio::test]
async fn a_question_is_asked_again_after_an_election() {
    let Opened { _nats, connection, .. } = opened().await;
    // On the same connection, so that the server knows of it before the question.
    let mut questions = connection.subscribe("question".into()).await.unwrap();
    let answering = async {
        drop(questions.next().await.unwrap());
        connection.counts.elect();
        let second = questions.next().await.unwrap();
        connection.send(second.reply.unwrap().to_string(), None, Bytes::from("answer")).await.unwrap();
    };
    let asking = connection.ask("question".into(), Bytes::new(), limits::REQUEST);
    let answer = tokio::select! {
        answer = asking => answer,
        () = async { answering.await; std::future::pending().await } => unreachable!("it waits for ever"),
    };
    assert_eq!(answer.unwrap().payload, "answer");
}

#[test]
fn the_delay_grows_to_its_bound() {
    assert_eq!(reconnect_delay(1), Duration::from_millis(50));
    assert_eq!(reconnect_delay(3), Duration::from_millis(200));
    assert_eq!(reconnect_delay(1_000), Duration::from_secs(1));
}

#[test]
fn several_servers_may_be_named() {
    assert_eq!(servers("nats://a:1, nats://b:2").map(|list| list.len()), Ok(2));
    assert!(servers("no url at all").is_err());
}
