//! A caller below gRPC: says whatever it likes, and shows the answer as it is on the wire.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tonic::Status;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub data: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn status(&self) -> Status {
        let in_headers = Status::from_header_map(&self.headers);
        in_headers.or_else(|| Status::from_header_map(self.trailers.as_ref()?)).unwrap()
    }
}

/// A message with `flag` and the length it should have.
pub fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![flag];
    all.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    all.extend(bytes);
    all
}

/// Sends a whole request and reads the answer to its end.
pub async fn call(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let (answer, mut sender) = open(addr, path, headers).await;
    // A server that has refused already may have closed the stream.
    let _refused = sender.send_data(body.into(), true);
    read(answer).await
}

/// Begins a request on a connection of its own.
pub async fn open(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
    begin(addr, path, headers, false).await
}

/// Sends a request that is over with its headers.
pub async fn empty(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> ResponseFuture {
    begin(addr, path, headers, true).await.0
}

async fn begin(addr: SocketAddr, path: &str, headers: &[(&str, &str)], is_over: bool) -> (ResponseFuture, SendStream<Bytes>) {
    let (client, connection) = h2::client::handshake(TcpStream::connect(addr).await.unwrap()).await.unwrap();
    tokio::spawn(async move {
        // The server may close it as roughly as it likes.
        let _closed = connection.await;
    });
    let mut request = Request::post(format!("http://{addr}{path}")).header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    client.ready().await.unwrap().send_request(request.body(()).unwrap(), is_over).unwrap()
}

/// Reads an answer to its end.
pub async fn read(answer: ResponseFuture) -> Answer {
    let response = super::soon(answer).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let mut data = Vec::new();
    while let Some(chunk) = super::soon(body.data()).await {
        data.extend_from_slice(&chunk.unwrap());
    }
    let trailers = super::soon(body.trailers()).await.unwrap();
    Answer { http: parts.status, headers: parts.headers, data, trailers }
}

/// Sends `body` as fast as the other side takes it, and ends the request.
pub async fn write(mut sender: SendStream<Bytes>, body: Vec<u8>) {
    let mut left = Bytes::from(body);
    while !left.is_empty() {
        sender.reserve_capacity(left.len());
        let room = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap();
        let chunk = left.split_to(room.min(left.len()));
        let is_last = left.is_empty();
        sender.send_data(chunk, is_last).unwrap();
    }
}
