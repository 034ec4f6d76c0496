//! gRPC-Web over HTTP/1.1 and CORS, by hand: what a browser sends.

use runmesh_host::server::{Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{self, Running, demo::message};

async fn edge() -> Running {
    let config = ServerConfig { grpc_web: true, cors_origins: vec!["https://app.example".to_owned()], ..ServerConfig::default() };
    support::start(Server::builder(config).policy(support::policy()), support::demo::routes("demo"), None).await
}

async fn exchange(edge: &Running, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.addr).await.unwrap();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    timeout(support::PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_browser_gets_the_answer_and_the_status() {
    let edge = edge().await;
    let body = message(b"from a browser");
    for (method, want) in [("Echo", "from a browser"), ("Bare", "grpc-status-details-bin")] {
        let head = format!(
            "POST /demo.v1.Demo/{method} HTTP/1.1\nhost: edge\norigin: https://app.example\ncontent-type: application/grpc-web+proto\ncontent-length: {}\nconnection: close\n\n",
            body.len()
        );
        let answer = exchange(&edge, &head, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
        assert!(answer.contains(want), "{answer}");
        assert!(answer.contains("grpc-status:"), "{answer}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_for_known_origins_only() {
    let edge = edge().await;
    for (origin, allowed) in [("https://app.example", true), ("https://evil.example", false)] {
        let head = format!(
            "OPTIONS /demo.v1.Demo/Echo HTTP/1.1\nhost: edge\norigin: {origin}\naccess-control-request-method: POST\naccess-control-request-headers: x-grpc-web,content-type\nconnection: close\n\n"
        );
        let answer = exchange(&edge, &head, b"").await;
        assert_eq!(answer.contains("access-control-allow-origin"), allowed, "{answer}");
    }
}

#[tokio::test]
async fn plain_grpc_still_passes() {
    let edge = edge().await;
    assert_eq!(support::unary(edge.channel().await, "Echo", "x").await.unwrap().into_inner(), "x");
}
