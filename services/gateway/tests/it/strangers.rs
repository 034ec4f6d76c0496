//! Callers without credentials hold no request open, whatever they send: half-sent bodies on real sockets.

use runmesh_domain::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::raw;
use crate::support::{pair, reason, soon};

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The beginning of a message of `size` bytes, and some of it.
fn half(size: u32) -> Vec<u8> {
    [&[0][..], &size.to_be_bytes(), b"seven"].concat()
}

#[tokio::test]
async fn a_request_that_never_ends_is_answered_and_cut_off() {
    let (behind, gateway) = pair().await;
    for (path, size, want) in [
        (CHECK, 1_000, Reason::DeadlineExceeded),
        ("/grpc.health.v1.Health/Watch", 1_000, Reason::DeadlineExceeded),
        (CHECK, 4 << 20, Reason::MessageTooLarge),
        // Off here, as it is by default.
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 1_000, Reason::UnknownMethod),
        ("/grpc.health.v1.Health/Nothing", 1_000, Reason::UnknownMethod),
        ("/nobody.knows/This", 1_000, Reason::UnknownMethod),
        ("/runmesh.run.v1.RunService/SendMessage", 1_000, Reason::Unauthenticated),
        ("/runmesh.stream.v1.StreamService/AttachRun", 1_000, Reason::Unauthenticated),
        ("/runmesh.stream.v1.StreamService/Append", 1_000, Reason::Unauthenticated),
    ] {
        let (answer, mut sender) = raw::open(gateway.addr, path, &[]).await;
        sender.send_data(half(size).into(), false).unwrap();
        let answer = raw::read(answer).await;
        assert_eq!(reason(&answer.status()), want, "{path}");
        soon(std::future::poll_fn(|cx| sender.poll_reset(cx))).await.unwrap();
    }
    assert_eq!(behind.calls(), 0);
}

/// What comes back for `head` and a body that is never finished, up to the first blank line.
async fn over_http1(addr: std::net::SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    stream.write_all(&half(1_000)).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(soon(stream.read_buf(&mut answer)).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn browsers_hold_no_request_open_either() {
    let (_behind, gateway) = pair().await;
    let check = format!("POST {CHECK} HTTP/1.1\nhost: edge\ncontent-type: application/grpc-web+proto\ncontent-length: 1005\n\n");
    let answer = over_http1(gateway.addr, &check).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 4"), "{answer}");
    let preflight = "OPTIONS /grpc.health.v1.Health/Check HTTP/1.1\nhost: edge\norigin: https://app.example\n\
                     access-control-request-method: POST\ncontent-length: 1005\n\n";
    let answer = over_http1(gateway.addr, preflight).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
