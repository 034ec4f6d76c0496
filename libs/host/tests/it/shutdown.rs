//! A drain ends by itself when it can and by the clock when it cannot.

use std::time::Duration;

use runmesh_host::UpstreamConfig;
use runmesh_host::server::{Server, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{self, raw};

#[tokio::test]
async fn a_watcher_hears_not_serving_and_does_not_hold_up_the_drain() {
    let demo = support::demo().await;
    let mut client = HealthClient::new(demo.channel().await);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    let started = Instant::now();
    assert!(demo.life.drain(Duration::from_secs(20)).await, "the drain needed the hard stop");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(TcpStream::connect(demo.addr).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_stream_nobody_ends_is_cut_when_the_grace_is_over() {
    let demo = support::demo().await;
    let mut stream = support::streaming(demo.channel().await, "Drip").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");

    let started = Instant::now();
    assert!(!demo.life.drain(Duration::from_millis(300)).await, "nothing could end that stream");
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < support::PATIENCE);
    assert!(timeout(support::PATIENCE, stream.message()).await.unwrap().is_err());
}

#[tokio::test]
async fn health_turns_before_the_listener_closes() {
    let config = ServerConfig { drain_delay: Duration::from_secs(60), ..ServerConfig::default() };
    let demo = support::start(Server::builder(config).policy(support::policy()), support::demo::routes("demo"), None).await;
    demo.life.stop();
    support::eventually("health says no", || async { !demo.health.is_ready() }).await;

    let status = HealthClient::new(demo.channel().await).check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(status.status(), ServingStatus::NotServing);
    assert_eq!(raw::call(demo.addr, "Echo", &[]).await.status().0.code(), Code::Ok, "late callers are still served");
    demo.life.hard().cancel();
    support::eventually("the listener closes", || async { TcpStream::connect(demo.addr).await.is_err() }).await;
}

#[tokio::test]
async fn an_old_connection_is_sent_away_and_its_stream_goes_on() {
    let config = ServerConfig { max_connection_age: Some(Duration::from_millis(200)), ..ServerConfig::default() };
    let demo = support::start(Server::builder(config).policy(support::policy()), support::demo::routes("demo"), None).await;
    let mut stream = support::streaming(demo.channel().await, "Drip").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    // Calls of ours move to a new connection without a failure, several times over.
    let service = support::upstream(UpstreamConfig::unary("demo", vec![demo.url()]));
    let end = Instant::now() + Duration::from_millis(900);
    while Instant::now() < end {
        assert_eq!(support::unary(service.clone(), "Echo", "x").await.unwrap().into_inner(), "x");
    }
    assert!(timeout(Duration::from_millis(50), stream.message()).await.is_err(), "the stream was ended");
}
