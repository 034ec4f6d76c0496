//! Backends that take calls and do not answer: each costs no more than a dead one, and a slow one is left alone.

use std::time::Duration;

use runmesh_host::{Deadline, Upstream, UpstreamConfig};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use crate::support::link::Link;
use crate::support::{self, PATIENCE, streaming, unary_request, upstream};

/// Probes often, so that the tests wait less.
fn eager(config: UpstreamConfig) -> UpstreamConfig {
    UpstreamConfig { resolve_every: Duration::from_millis(300), connect_timeout: Duration::from_secs(1), ..config }
}

/// Calls with a deadline that is the test's patience.
async fn call(service: &Upstream, method: &str) -> Result<Response<bytes::Bytes>, Status> {
    let mut request = Request::new(bytes::Bytes::new());
    request.extensions_mut().insert(Deadline::after(PATIENCE).unwrap());
    unary_request(service.clone(), method, request).await
}

#[tokio::test]
async fn one_of_two_that_stands_still_costs_no_call() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let link = Link::to(b.addr).await;
    // As in production: nothing looks before a call waits.
    let service = upstream(UpstreamConfig::unary("demo", vec![a.url(), link.url.clone()]));
    support::eventually("both are used", || async { call(&service, "Name").await.unwrap().into_inner() == "b" }).await;
    link.freeze();
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { call(&service, "Name").await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().into_inner(), "a", "no call waits for its deadline");
    }
    link.thaw();
    support::eventually("it is called again", || async { call(&service, "Name").await.unwrap().into_inner() == "b" }).await;
}

#[tokio::test]
async fn a_stream_on_a_backend_that_stands_still_ends_unavailable_and_opens_elsewhere() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let link = Link::to(b.addr).await;
    let service = upstream(eager(UpstreamConfig::streaming("demo", vec![link.url.clone(), a.url()])));
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = streaming(service.clone(), "Drip").await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "first");
        streams.push(stream);
    }
    link.freeze();
    // Two of the four are there; the others go on and say nothing, as before.
    let (ended, _, others) =
        timeout(PATIENCE, futures::future::select_all(streams.iter_mut().map(|stream| Box::pin(stream.message()))))
            .await
            .unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    let (ended, _, others) = timeout(PATIENCE, futures::future::select_all(others)).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    drop(others);
    for _ in 0..4 {
        let mut stream = timeout(PATIENCE, streaming(service.clone(), "Drip")).await.unwrap().unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    }
}

#[tokio::test]
async fn opening_a_stream_on_a_backend_that_stands_still_is_answered() {
    let demo = support::demo().await;
    let link = Link::to(demo.addr).await;
    let service = upstream(UpstreamConfig::streaming("demo", vec![link.url.clone()]));
    assert!(service.wait_ready(PATIENCE).await);
    link.freeze();
    let status = timeout(PATIENCE, streaming(service, "Drip")).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_slow_backend_that_is_alive_keeps_its_calls_and_its_place() {
    let demo = support::demo().await;
    let service = upstream(eager(UpstreamConfig::streaming("demo", vec![demo.url()])));
    let mut held = streaming(service.clone(), "Drip").await.unwrap();
    assert_eq!(held.message().await.unwrap().unwrap(), "first");
    // Long enough to be suspected and probed, more than once.
    let mut request = Request::new(bytes::Bytes::new());
    request.extensions_mut().insert(Deadline::after(Duration::from_millis(2_500)).unwrap());
    let status = unary_request(service.clone(), "Slow", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "it waited for as long as its caller wanted");
    assert!(service.ready(), "a slow call ejects nobody");
    assert!(timeout(Duration::ZERO, held.message()).await.is_err(), "the stream goes on");
}
