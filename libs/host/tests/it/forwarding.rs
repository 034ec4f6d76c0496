//! Byte forwarding as the gateway does it: an upstream as the fallback of the routes.

use runmesh_host::server::{Server, ServerConfig};
use runmesh_host::{Upstream, UpstreamConfig};
use tokio::time::timeout;
use tonic::Code;
use tonic::service::Routes;

use crate::support::{self, Running, raw, reason, streaming, unary};

async fn gateway(upstream: Upstream) -> Running {
    let routes = Routes::from(Routes::default().into_axum_router().fallback_service(upstream));
    support::start(Server::builder(ServerConfig::default()).policy(support::policy()), routes, None).await
}

#[tokio::test]
async fn calls_streams_and_statuses_pass_through() {
    let demo = support::demo().await;
    let gateway = gateway(support::upstream(UpstreamConfig::unary("demo", vec![demo.url()]))).await;
    assert_eq!(unary(gateway.channel().await, "Echo", "through").await.unwrap().into_inner(), "through");
    let status = unary(gateway.channel().await, "Full", "").await.unwrap_err();
    assert_eq!(reason(&status), "RUN_NOT_FOUND");
    let answer = raw::call(gateway.addr, "Timeout", &[("grpc-timeout", "5S")]).await;
    let sent = String::from_utf8(answer.data[5..].to_vec()).unwrap();
    let micros: u64 = sent.strip_suffix('u').unwrap().parse().unwrap();
    assert!(micros <= 5_000_000 && micros > 3_000_000, "{sent}");
}

#[tokio::test]
async fn an_upstream_that_dies_is_unavailable_with_one_error_info() {
    let demo = support::demo().await;
    let gateway = gateway(support::upstream(UpstreamConfig::streaming("demo", vec![demo.url()]))).await;
    let mut stream = streaming(gateway.channel().await, "Drip").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    demo.kill().await;
    let status = timeout(support::PATIENCE, stream.message()).await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "UNAVAILABLE"));
    let status = unary(gateway.channel().await, "Echo", "").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_call_behind() {
    let config = ServerConfig { max_streams: 1, ..ServerConfig::default() };
    let demo = support::start(Server::builder(config).policy(support::policy()), support::demo::routes("demo"), None).await;
    let gateway = gateway(support::upstream(UpstreamConfig::streaming("demo", vec![demo.url()]))).await;
    let mut held = streaming(gateway.channel().await, "Drip").await.unwrap();
    assert_eq!(held.message().await.unwrap().unwrap(), "first");
    assert!(streaming(gateway.channel().await, "Drip").await.is_err(), "the only place is taken");
    drop(held);
    support::eventually("the place behind is free", || async { streaming(gateway.channel().await, "Drip").await.is_ok() }).await;
}
