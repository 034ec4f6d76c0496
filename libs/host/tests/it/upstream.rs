//! The picker against backends that die, come back, and break in the middle.

use std::collections::HashSet;
use std::time::Duration;

use runmesh_host::{Deadline, UpstreamConfig};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::{self, streaming, unary, unary_request, upstream};

#[tokio::test]
async fn one_of_two_killed_costs_no_call() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let service = upstream(UpstreamConfig::unary("demo", vec![a.url(), b.url()]));
    let mut seen = HashSet::new();
    for _ in 0..20 {
        seen.insert(unary(service.clone(), "Name", "").await.unwrap().into_inner());
    }
    assert_eq!(seen.len(), 2, "both are used");

    let killer = tokio::spawn(async move { b.kill().await });
    for call in 0..200 {
        let answer = unary(service.clone(), "Name", "").await;
        assert!(answer.is_ok(), "call {call}: {answer:?}");
    }
    killer.await.unwrap();
    for call in 0..200 {
        assert_eq!(unary(service.clone(), "Name", "").await.unwrap().into_inner(), "a", "call {call}");
    }
}

#[tokio::test]
async fn one_of_two_killed_under_concurrent_load_costs_no_call() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let service = upstream(UpstreamConfig::unary("demo", vec![a.url(), b.url()]));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                for call in 0..100 {
                    let answer = unary(service.clone(), "Name", "").await;
                    assert!(answer.is_ok(), "call {call}: {answer:?}");
                }
            })
        })
        .collect();
    b.kill().await;
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_backend_comes_back_on_its_port() {
    let (a, b) = (support::demo_at("a", None).await, support::demo_at("b", None).await);
    let service = upstream(UpstreamConfig::unary("demo", vec![a.url(), b.url()]));
    let addr = b.addr;
    b.kill().await;
    for _ in 0..10 {
        assert_eq!(unary(service.clone(), "Name", "").await.unwrap().into_inner(), "a");
    }
    let _b = support::demo_at("b again", Some(addr)).await;
    support::eventually("the new one is called", || async {
        unary(service.clone(), "Name", "").await.unwrap().into_inner() == "b again"
    })
    .await;
}

#[tokio::test]
async fn with_none_left_it_is_unavailable_and_not_ready_until_one_is_back() {
    let only = support::demo().await;
    let service = upstream(UpstreamConfig::unary("demo", vec![only.url()]));
    assert!(service.wait_ready(support::PATIENCE).await);
    let addr = only.addr;
    only.kill().await;
    for _ in 0..5 {
        assert_eq!(unary(service.clone(), "Echo", "").await.unwrap_err().code(), Code::Unavailable);
    }
    support::eventually("it is known to be away", || async { !service.ready() }).await;
    let _back = support::demo_at("demo", Some(addr)).await;
    assert!(service.wait_ready(support::PATIENCE).await);
    support::eventually("calls go through", || async { unary(service.clone(), "Echo", "").await.is_ok() }).await;
}

#[tokio::test]
async fn a_broken_stream_ends_unavailable() {
    let demo = support::demo().await;
    let service = upstream(UpstreamConfig::streaming("demo", vec![demo.url()]));
    let mut stream = streaming(service, "Drip").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    demo.kill().await;
    let status = timeout(support::PATIENCE, stream.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn a_stream_that_could_not_connect_is_opened_elsewhere() {
    let demo = support::demo().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    for _ in 0..8 {
        // A fresh one each time, before the probe can find out.
        let service = upstream(UpstreamConfig::streaming("demo", vec![dead.clone(), demo.url()]));
        let mut stream = streaming(service, "Drip").await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    }
}

#[tokio::test]
async fn a_silent_backend_costs_no_more_than_the_deadline() {
    // Accepts into the kernel's queue and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = upstream(UpstreamConfig::unary("silent", vec![format!("http://{}", silent.local_addr().unwrap())]));
    let mut request = Request::new(bytes::Bytes::new());
    request.extensions_mut().insert(Deadline::after(Duration::from_millis(200)).unwrap());
    let status = timeout(support::PATIENCE, unary_request(service, "Echo", request)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_is_left_of_the_time_is_sent_on() {
    let demo = support::demo().await;
    let service = upstream(UpstreamConfig::unary("demo", vec![demo.url()]));
    let mut request = Request::new(bytes::Bytes::new());
    request.extensions_mut().insert(Deadline::after(Duration::from_secs(7)).unwrap());
    let sent = unary_request(service, "Timeout", request).await.unwrap().into_inner();
    let sent = std::str::from_utf8(&sent).unwrap().to_owned();
    let micros: u64 = sent.strip_suffix('u').unwrap().parse().unwrap();
    assert!((5_000_000..=7_000_000).contains(&micros), "{sent}");
}

#[tokio::test]
async fn a_request_over_the_bound_is_refused_here() {
    let demo = support::demo().await;
    let mut config = UpstreamConfig::unary("demo", vec![demo.url()]);
    config.request_bytes_max = 1_000;
    let service = upstream(config);
    assert!(unary(service.clone(), "Echo", &"x".repeat(900)).await.is_ok());
    let refused = unary(service, "Echo", &"x".repeat(1_000)).await.unwrap_err();
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!((refused.code(), reason.as_str()), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert!(refused.get_details_retry_info().is_none(), "it is too large tomorrow too");
}

#[tokio::test]
async fn a_name_is_resolved() {
    let demo = support::demo().await;
    let service = upstream(UpstreamConfig::unary("demo", vec![format!("dns:///localhost:{}", demo.addr.port())]));
    assert_eq!(unary(service, "Echo", "by name").await.unwrap().into_inner(), "by name");
}

#[tokio::test]
async fn more_streams_than_one_connection_carries_open_another() {
    let demo = support::demo().await;
    let mut config = UpstreamConfig::streaming("demo", vec![demo.url()]);
    (config.calls_per_connection, config.connections_max) = (2, 2);
    let service = upstream(config);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(streaming(service.clone(), "Drip").await.unwrap());
    }
    let status = streaming(service.clone(), "Drip").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(open);
    support::eventually("places come back", || async { streaming(service.clone(), "Drip").await.is_ok() }).await;
}
