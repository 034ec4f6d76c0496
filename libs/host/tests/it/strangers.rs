//! What callers without credentials may hold: little, for a short time. Half-sent requests on real sockets.

use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use runmesh_host::server::{Server, ServerConfig};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::demo::message;
use crate::support::{self, PATIENCE, Running, raw, reason};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECT: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

async fn server(config: ServerConfig) -> Running {
    let routes = runmesh_host::reflection::routes(support::demo::routes("demo"), &[]).unwrap();
    support::start(Server::builder(config).policy(support::policy()), routes, None).await
}

/// The beginning of a message of `size` bytes, and ten bytes of it.
fn half(size: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(size);
    bytes.put_bytes(7, 10);
    bytes.freeze()
}

/// A request that is never finished.
async fn half_sent(client: &mut SendRequest<Bytes>, path: &str, size: u32) -> (ResponseFuture, SendStream<Bytes>) {
    let (answer, mut body) = raw::begin(client, path, &[]).await;
    body.send_data(half(size), false).unwrap();
    (answer, body)
}

/// A whole request with an empty message.
async fn whole(client: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let (answer, mut body) = raw::begin(client, path, &[]).await;
    body.send_data(message(b""), true).unwrap();
    answer
}

async fn status(answer: ResponseFuture) -> Status {
    raw::read(answer).await.status().0
}

/// The answer has begun, and it is no refusal.
async fn open(answer: ResponseFuture) -> h2::RecvStream {
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
    answer.into_body()
}

fn assert_overloaded(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "OVERLOADED"), "{status:?}");
    assert!(status.get_details_retry_info().is_some());
}

#[tokio::test]
async fn a_request_that_never_ends_is_answered() {
    let demo = server(ServerConfig::default()).await;
    let mut client = raw::connect(demo.addr).await;
    let held = [half_sent(&mut client, CHECK, 500).await, half_sent(&mut client, WATCH, 500).await];
    for (answer, _unfinished) in held {
        let status = status(answer).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    }
}

#[tokio::test]
async fn a_large_message_is_refused_before_it_is_sent() {
    let demo = server(ServerConfig::default()).await;
    let mut client = raw::connect(demo.addr).await;
    for path in [CHECK, WATCH] {
        let (answer, _unfinished) = half_sent(&mut client, path, 1_025).await;
        let status = status(answer).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"), "{path}");
    }
    for path in REFLECT {
        let (answer, _unfinished) = half_sent(&mut client, path, 4_097).await;
        let mut answers = open(answer).await;
        assert!(timeout(PATIENCE, answers.data()).await.unwrap().is_none(), "{path} ends without an answer");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let demo = server(ServerConfig::default()).await;
    let mut client = raw::connect(demo.addr).await;
    for path in [CHECK, WATCH] {
        for bytes in [message(b"\x0a\x02\xff\xfe"), message(b"\x0a\x7f"), Bytes::new()] {
            let (answer, mut body) = raw::begin(&mut client, path, &[]).await;
            body.send_data(bytes.clone(), true).unwrap();
            let status = status(answer).await;
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "MALFORMED_MESSAGE"),
                "{path} {bytes:?}"
            );
        }
    }
}

#[tokio::test]
async fn watches_are_bounded_on_a_connection_and_in_all() {
    let demo = server(ServerConfig { max_open_health_per_connection: 2, max_watches: 3, ..ServerConfig::default() }).await;
    let (mut one, mut two) = (raw::connect(demo.addr).await, raw::connect(demo.addr).await);
    let first = open(whole(&mut one, WATCH).await).await;
    let _second = open(whole(&mut one, WATCH).await).await;
    assert_overloaded(&status(whole(&mut one, WATCH).await).await);
    let _third = open(whole(&mut two, WATCH).await).await;
    assert_overloaded(&status(whole(&mut two, WATCH).await).await);
    drop(first);
    let mut kept = None;
    let end = tokio::time::Instant::now() + PATIENCE;
    while kept.is_none() {
        assert!(tokio::time::Instant::now() < end, "a place comes back");
        let answer = timeout(PATIENCE, whole(&mut two, WATCH).await).await.unwrap().unwrap();
        kept = (!answer.headers().contains_key("grpc-status")).then_some(answer);
    }
}

#[tokio::test]
async fn half_sent_checks_are_bounded_and_a_whole_one_is_answered() {
    let demo = server(ServerConfig { max_open_health_per_connection: 2, ..ServerConfig::default() }).await;
    let mut client = raw::connect(demo.addr).await;
    let _held = [half_sent(&mut client, CHECK, 500).await, half_sent(&mut client, CHECK, 500).await];
    let (answer, _unfinished) = half_sent(&mut client, CHECK, 500).await;
    assert_overloaded(&status(answer).await);
    // One that is there before it is looked at needs no place.
    let mut answered = false;
    for _ in 0..50 {
        answered |= status(whole(&mut client, CHECK).await).await.code() == Code::Ok;
    }
    assert!(answered);
    let mut other = raw::connect(demo.addr).await;
    assert_eq!(status(whole(&mut other, CHECK).await).await.code(), Code::Ok, "another connection has places of its own");
}

#[tokio::test]
async fn reflection_streams_are_bounded_and_their_requests_end_with_them() {
    let demo = server(ServerConfig { max_reflections: 1, ..ServerConfig::default() }).await;
    for path in REFLECT {
        let mut client = raw::connect(demo.addr).await;
        let (answer, mut request) = raw::begin(&mut client, path, &[("grpc-timeout", "1S")]).await;
        request.send_data(half(500), false).unwrap();
        let first = tokio::spawn(raw::read(answer));
        support::eventually("the first stream has the only place", || {
            let mut client = client.clone();
            async move {
                let (answer, _unfinished) = half_sent(&mut client, path, 500).await;
                let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
                Status::from_header_map(answer.headers()).is_some_and(|status| status.code() == Code::ResourceExhausted)
            }
        })
        .await;
        let (ended, _) = first.await.unwrap().status();
        assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
        let reset = timeout(PATIENCE, std::future::poll_fn(|cx| request.poll_reset(cx))).await;
        assert!(reset.is_ok(), "{path}: nobody reads the request any more");
    }
}
