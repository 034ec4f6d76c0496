//! gRPC-Web over HTTP/1.1, by hand: what a browser sends.

use runmesh_gateway::GatewayConfig;
use runmesh_host::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::behind::Behind;
use crate::support::{Gateway, config, raw, soon, tokens};

async fn edge(behind: &Behind) -> Gateway {
    let server = ServerConfig { cors_origins: vec!["https://app.example".to_owned()], ..ServerConfig::default() };
    Gateway::start(GatewayConfig { server, ..config(&[behind]) }).await
}

async fn exchange(gateway: &Gateway, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn post(gateway: &Gateway, method: &str, more: &str, message: &[u8]) -> String {
    let body = raw::message(0, message);
    let head = format!(
        "POST /runmesh.run.v1.RunService/{method} HTTP/1.1\nhost: edge\norigin: https://app.example\n\
         content-type: application/grpc-web+proto\ncontent-length: {}\n{more}connection: close\n\n",
        body.len()
    );
    exchange(gateway, &head, &body).await
}

#[tokio::test]
async fn a_browser_calls_and_gets_the_answer_and_the_status() {
    let behind = Behind::start("behind").await;
    let gateway = edge(&behind).await;
    let authorized = format!("authorization: Bearer {}\n", tokens::ann());
    // Field 2 of SendMessageRequest, the thread's id, comes back as the cursor.
    let answer = post(&gateway, "SendMessage", &authorized, b"\x12\x0efrom a browser").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("from a browser") && answer.contains("grpc-status:0"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
    assert_eq!(behind.calls(), 1);
}

#[tokio::test]
async fn a_browser_hears_refusals_of_the_gateway_and_of_the_service() {
    let behind = Behind::start("behind").await;
    let gateway = edge(&behind).await;
    let answer = post(&gateway, "GetRun", "", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 16"), "{answer}");
    let authorized = format!("authorization: Bearer {}\n", tokens::ann());
    let answer = post(&gateway, "GetRun", &authorized, b"").await;
    assert!(answer.contains("no%20such%20run") && answer.contains("grpc-status-details-bin"), "{answer}");
}

#[tokio::test]
async fn only_known_pages_may_ask() {
    let behind = Behind::start("behind").await;
    let gateway = edge(&behind).await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /runmesh.run.v1.RunService/GetRun HTTP/1.1\nhost: edge\norigin: {origin}\n\
             access-control-request-method: POST\naccess-control-request-headers: authorization,x-grpc-web\nconnection: close\n\n"
        )
    };
    let answer = exchange(&gateway, &preflight("https://app.example"), b"").await;
    assert!(answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
    assert!(answer.contains("access-control-allow-headers: authorization,x-grpc-web"), "{answer}");
    let answer = exchange(&gateway, &preflight("https://evil.example"), b"").await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
}
