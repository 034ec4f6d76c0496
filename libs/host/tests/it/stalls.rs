//! Streams that nobody reads: they hold up nobody else, and they do not last.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use runmesh_host::UpstreamConfig;
use runmesh_host::server::{Server, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::demo::{self, message};
use crate::support::link::Link;
use crate::support::{self, PATIENCE, Running, raw, streaming, unary, upstream};

/// A server whose readers may stall for `limit`.
async fn patient(limit: Option<Duration>) -> Running {
    let config = ServerConfig { write_stall_limit: limit, ..ServerConfig::default() };
    support::start(Server::builder(config).policy(support::policy()), demo::routes("demo"), None).await
}

/// A stream of `method` whose reader has taken what came first and lets nothing more come.
async fn stalled(demo: &Running, method: &str) -> RecvStream {
    let response = timeout(PATIENCE, raw::open(demo.addr, method, &[]).await).await.unwrap().unwrap();
    let mut body = response.into_body();
    let mut taken = 0;
    while taken < usize::from(u16::MAX) {
        // Never given back, so the window stays used up.
        taken += timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap().len();
    }
    body
}

/// Waits for a stream to be reset, which must be how it ends.
async fn reset(mut body: RecvStream) {
    let end = timeout(PATIENCE, body.data()).await.unwrap();
    assert_eq!(end.unwrap().unwrap_err().reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_stream_is_reset_once_its_reader_has_taken_nothing_for_the_limit() {
    let demo = patient(Some(Duration::from_millis(300))).await;
    let mut quiet = streaming(demo.channel().await, "Drip").await.unwrap();
    assert_eq!(quiet.message().await.unwrap().unwrap(), "first");
    reset(stalled(&demo, "Flood").await).await;
    assert!(timeout(Duration::ZERO, quiet.message()).await.is_err(), "a stream that has nothing to say goes on");
}

#[tokio::test]
async fn a_stream_that_is_over_is_reset_though_its_reader_takes_nothing() {
    let demo = patient(None).await;
    let mut lasting = stalled(&demo, "Flood").await;
    reset(stalled(&demo, "FloodThatIsOver").await).await;
    assert!(timeout(Duration::ZERO, lasting.data()).await.is_err(), "without a limit only the end counts");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_readers_that_take_nothing() {
    let demo = patient(None).await;
    let (one, other) = (stalled(&demo, "Flood").await, stalled(&demo, "Flood").await);
    assert!(demo.life.drain(PATIENCE).await, "the drain needed the hard stop");
    reset(one).await;
    reset(other).await;
}

#[tokio::test]
async fn a_connection_of_http_1_ends_with_its_stalled_answer() {
    let config = ServerConfig { write_stall_limit: Some(Duration::from_millis(300)), grpc_web: true, ..ServerConfig::default() };
    let demo = support::start(Server::builder(config).policy(support::policy()), demo::routes("demo"), None).await;
    let mut stream = TcpStream::connect(demo.addr).await.unwrap();
    let head = "POST /demo.v1.Demo/Flood HTTP/1.1\r\nhost: demo\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n";
    stream.write_all(&[head.as_bytes(), &message(b"")].concat()).await.unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK\r");
    // Asked without reading: what is on its way would be taken otherwise.
    support::eventually("the server has closed the connection", async || stream.write_all(b"x").await.is_err()).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_up_no_other_on_their_connection() {
    const STREAMS: usize = 100;
    let demo = patient(None).await;
    let mut config = UpstreamConfig::streaming("demo", vec![demo.url()]);
    (config.calls_per_connection, config.connections_max) = (STREAMS, 1);
    let service = upstream(config);
    let mut unread = Vec::new();
    for _ in 1..STREAMS {
        unread.push(streaming(service.clone(), "Flood").await.unwrap());
    }
    let mut read = timeout(PATIENCE, streaming(service, "Flood")).await.unwrap().unwrap();
    for _ in 0..1_000 {
        let message = timeout(PATIENCE, read.message()).await.unwrap().unwrap();
        assert_eq!(message.unwrap().len(), 16 * 1024);
    }
    drop(unread);
}

#[tokio::test]
async fn requests_that_nobody_reads_hold_up_no_other_on_their_connection() {
    let demo = patient(None).await;
    let mut client = raw::connect(demo.addr).await;
    let mut unread = Vec::new();
    for _ in 0..60 {
        let (answer, mut body) = raw::begin(&mut client, "/demo.v1.Demo/Hoard", &[]).await;
        // As much as the stream's window takes, and some more.
        body.send_data(message(&[b'x'; 512 * 1024]), false).unwrap();
        unread.push((answer, body));
    }
    let (answer, mut body) = raw::begin(&mut client, "/demo.v1.Demo/Echo", &[]).await;
    body.send_data(message(b"through"), true).unwrap();
    let answer = raw::read(answer).await;
    assert_eq!(&answer.data[5..], b"through");
}

#[tokio::test]
async fn a_caller_that_leaves_a_silent_backend_is_sent_to_another() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let link = Link::to(b.addr).await;
    // No probe ends within this test: the caller that leaves is all that is known.
    let slow = Duration::from_secs(600);
    let config = UpstreamConfig::streaming("demo", vec![a.url(), link.url.clone()]);
    let service = upstream(UpstreamConfig { resolve_every: slow, connect_timeout: slow, ..config });
    let mut at_a = streaming(service.clone(), "Drip").await.unwrap();
    let mut at_b = streaming(service.clone(), "Drip").await.unwrap();
    for stream in [&mut at_a, &mut at_b] {
        assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    }
    link.freeze();
    // What a backend has said within the last half second counts for it.
    let counts = Duration::from_millis(500);
    support::eventually("the backend has been silent for longer", async || link.silent_for() > counts).await;
    drop(at_b);
    // It has fewer calls than the other one now.
    let answer = timeout(PATIENCE, unary(service, "Name", "")).await.unwrap().unwrap();
    assert_eq!(answer.into_inner(), Bytes::from("a"));
}
