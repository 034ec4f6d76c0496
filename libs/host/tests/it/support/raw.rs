//! A client below gRPC: shows what is on the wire, without the time-outs and repairs of a real client.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;

use super::PATIENCE;
use super::demo::message;

pub struct Answer {
    pub headers: HeaderMap,
    pub data: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The status, and whether it came in trailers.
    pub fn status(&self) -> (Status, bool) {
        match Status::from_header_map(&self.headers) {
            Some(status) => (status, false),
            None => (Status::from_header_map(self.trailers.as_ref().unwrap()).unwrap(), true),
        }
    }
}

/// Sends one call and reads the answer to its end.
pub async fn call(addr: SocketAddr, method: &str, headers: &[(&str, &str)]) -> Answer {
    read(open(addr, method, headers).await).await
}

/// Reads an answer to its end.
pub async fn read(response: ResponseFuture) -> Answer {
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    let headers = response.headers().clone();
    let mut body = response.into_body();
    let mut data = Vec::new();
    while let Some(chunk) = timeout(PATIENCE, body.data()).await.unwrap() {
        data.extend_from_slice(&chunk.unwrap());
    }
    Answer { headers, data, trailers: body.trailers().await.unwrap() }
}

/// Sends one call on a connection of its own and does not wait.
pub async fn open(addr: SocketAddr, method: &str, headers: &[(&str, &str)]) -> ResponseFuture {
    let mut client = connect(addr).await;
    let (response, mut body) = begin(&mut client, &format!("/demo.v1.Demo/{method}"), headers).await;
    body.send_data(message(b"x"), true).unwrap();
    response
}

/// A connection.
pub async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // The server may close it as roughly as it likes.
        let _closed = connection.await;
    });
    client
}

/// Begins a request and sends nothing of its body.
pub async fn begin(client: &mut SendRequest<Bytes>, path: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
    std::future::poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    let mut request =
        Request::post(format!("http://demo{path}")).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(()).unwrap(), false).unwrap()
}
