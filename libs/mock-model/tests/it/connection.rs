//! The life of the server: kept connections, stopping, and callers that go away.

use std::time::Duration;

use runmesh_mock_model::{MockModel, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::client::{ask, body_of};

const DEADLINE: Duration = Duration::from_secs(10);

fn keep_alive_request(message: &str) -> String {
    let body = body_of(message, true).to_string();
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads until `mark` has come; false when the connection ended before.
async fn read_until(socket: &mut TcpStream, mark: &str) -> bool {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.windows(mark.len()).any(|window| window == mark.as_bytes()) {
        match timeout(DEADLINE, socket.read(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => return false,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
        }
    }
    true
}

#[tokio::test]
async fn one_connection_serves_call_after_call() {
    let mock = MockModel::start().await.unwrap();
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    for _ in 0..3 {
        socket.write_all(keep_alive_request("many:5").as_bytes()).await.unwrap();
        assert!(read_until(&mut socket, "data: [DONE]\n\n\r\n0\r\n\r\n").await);
    }
    assert_eq!(mock.calls(), 3);
}

#[tokio::test]
async fn shutdown_ends_open_streams_and_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, async move {
        let _ = stopped.await;
    }));
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(keep_alive_request("slow:1000x1000").as_bytes()).await.unwrap();
    assert!(read_until(&mut socket, "chunk-0 ").await);
    stop.send(()).unwrap();
    timeout(DEADLINE, server).await.unwrap().unwrap().unwrap();
    assert!(!read_until(&mut socket, "[DONE]").await);
}

#[tokio::test]
async fn a_handle_says_where_it_is() {
    let mock = MockModel::start().await.unwrap();
    let address = mock.address();
    assert_eq!(mock.url(), format!("http://{address}/v1"));
    assert_eq!(mock.tools_url(), format!("http://{address}/tools"));
}

/// A stream of a fresh mock model that has begun and would go on for a long time.
async fn begun_stream() -> (MockModel, TcpStream) {
    let mock = MockModel::start().await.unwrap();
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    let request = keep_alive_request("slow:1000x1000");
    socket.write_all(request.as_bytes()).await.unwrap();
    assert!(read_until(&mut socket, "chunk-0 ").await);
    (mock, socket)
}

// That the port refuses connections is not asserted: another test may have been given it meanwhile.
#[tokio::test]
async fn stopping_or_dropping_a_handle_ends_its_streams() {
    let (stopped, mut socket) = begun_stream().await;
    stopped.stop().await;
    assert!(!read_until(&mut socket, "[DONE]").await);
    let (dropped, mut socket) = begun_stream().await;
    drop(dropped);
    assert!(!read_until(&mut socket, "[DONE]").await);
}

#[tokio::test]
async fn a_caller_that_leaves_hurts_nobody() {
    let mock = MockModel::start().await.unwrap();
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    socket.write_all(keep_alive_request("slow:1000x5").as_bytes()).await.unwrap();
    assert!(read_until(&mut socket, "chunk-1 ").await);
    drop(socket);
    assert_eq!(ask(mock.address(), "many:4").await.chunks().len(), 4);
}
