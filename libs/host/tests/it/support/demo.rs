//! A small gRPC service with every way of going wrong, written as plain routes that speak gRPC frames.

use std::convert::Infallible;

use axum::routing::post;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use runmesh_host::server::EndsAt;
use runmesh_host::signed::Verified;
use runmesh_host::status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};

type AxumRequest = Request<axum::body::Body>;
type Answer = Response<Body>;

pub fn routes(name: &'static str) -> Routes {
    let at = |method: &str| format!("/demo.v1.Demo/{method}");
    Routes::default()
        .into_axum_router()
        .route(&at("Echo"), post(echo))
        .route(&at("Name"), post(move || async move { whole(name.as_bytes()) }))
        .route(&at("Timeout"), post(|request: AxumRequest| async move { header(&request, "grpc-timeout") }))
        .route(&at("Trace"), post(|request: AxumRequest| async move { header(&request, "traceparent") }))
        .route(&at("Slow"), post(slow))
        .route(&at("SlowClass"), post(slow))
        .route(&at("SlowLong"), post(slow))
        .route(&at("Drip"), post(|| async { answer(first().chain(stream::pending())) }))
        .route(&at("Cut"), post(|| async { answer(first()) }))
        .route(&at("Flood"), post(|| async { answer(flood()) }))
        .route(&at("FloodThatIsOver"), post(flood_that_is_over))
        .route(&at("Hoard"), post(hoard))
        .route(&at("Panic"), post(panics))
        .route(&at("PanicBody"), post(|| async { answer(first().chain(stream::once(async { panic!("in the stream") }))) }))
        .route(&at("Bare"), post(|| async { Status::not_found("bare").into_http::<Body>() }))
        .route(&at("BareTrailers"), post(|| async { answer(first().chain(end(Status::aborted("bare")))) }))
        .route(&at("Full"), post(|| async { status::with_reason(Code::NotFound, "full", "RUN_NOT_FOUND").into_http::<Body>() }))
        .route(&at("Who"), post(who))
        .into()
}

pub fn message(bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(bytes.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(bytes.len()).unwrap());
    frame.put_slice(bytes);
    frame.freeze()
}

type Part = Result<Frame<Bytes>, Status>;

fn first() -> impl Stream<Item = Part> + Send {
    stream::iter([Ok(Frame::data(message(b"first")))])
}

fn end(status: Status) -> impl Stream<Item = Part> + Send {
    stream::iter([Ok(Frame::trailers(status::trailers(&status)))])
}

fn answer(frames: impl Stream<Item = Part> + Send + 'static) -> Answer {
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

fn whole(bytes: &[u8]) -> Answer {
    answer(stream::iter([Ok(Frame::data(message(bytes)))]).chain(end(Status::ok(""))))
}

async fn echo(request: AxumRequest) -> Answer {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    whole(&body[5..])
}

fn header(request: &AxumRequest, name: &str) -> Answer {
    let headers: &HeaderMap = request.headers();
    whole(headers.get(name).map(|value| value.as_bytes()).unwrap_or_default())
}

async fn slow() -> Result<Answer, Infallible> {
    std::future::pending().await
}

/// More than any reader takes.
fn flood() -> impl Stream<Item = Part> + Send {
    stream::repeat_with(|| Ok(Frame::data(message(&[b'x'; 16 * 1024]))))
}

async fn flood_that_is_over() -> Answer {
    let mut answer = answer(flood());
    answer.extensions_mut().insert(EndsAt(tokio::time::Instant::now()));
    answer
}

/// Keeps its request and reads nothing of it.
async fn hoard(request: AxumRequest) -> Answer {
    let _kept = request;
    std::future::pending().await
}

async fn panics(request: AxumRequest) -> Answer {
    assert!(request.headers().is_empty(), "in the handler");
    whole(b"")
}

async fn who(request: AxumRequest) -> Answer {
    let verified = request.extensions().get::<Verified<String>>();
    whole(verified.map(|verified| verified.claims.as_str()).unwrap_or("nobody").as_bytes())
}
