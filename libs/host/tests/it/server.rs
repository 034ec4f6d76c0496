//! Every answer has one status, every failed one exactly one `ErrorInfo`; panics, load and ids.

use std::time::Duration;

use runmesh_host::server::{Server, ServerConfig};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{self, raw, reason, unary};

#[tokio::test]
async fn an_unknown_method_and_an_unknown_service_have_one_error_info() {
    let demo = support::demo().await;
    let status = unary(demo.channel().await, "NoSuchMethod", "").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNIMPLEMENTED"));

    let mut health = HealthClient::new(demo.channel().await);
    let status = health.check(HealthCheckRequest { service: "nobody".to_owned() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn bare_statuses_are_completed_and_complete_ones_stay() {
    let demo = support::demo().await;
    for (method, code, want) in [("Bare", Code::NotFound, "NOT_FOUND"), ("Full", Code::NotFound, "RUN_NOT_FOUND")] {
        let status = unary(demo.channel().await, method, "").await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, want), "{method}");
    }
    let mut stream = support::streaming(demo.channel().await, "BareTrailers").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), status.message(), reason(&status).as_str()), (Code::Aborted, "bare", "ABORTED"));
}

#[tokio::test]
async fn an_answer_without_a_status_ends_unavailable() {
    let demo = support::demo().await;
    let answer = raw::call(demo.addr, "Cut", &[]).await;
    let (status, in_trailers) = answer.status();
    assert!(in_trailers && answer.data.ends_with(b"first"));
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_plain_http_error_becomes_a_status() {
    let demo = support::demo().await;
    // A GET of a POST route is 405 in plain HTTP; over gRPC it can only be sent by hand.
    let answer = raw::call(demo.addr, "Echo/too/deep", &[]).await;
    let (status, _) = answer.status();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(!reason(&status).is_empty());
}

#[tokio::test]
async fn a_panic_is_internal_and_the_connection_lives_on() {
    let demo = support::demo().await;
    let channel = demo.channel().await;
    let status = unary(channel.clone(), "Panic", "").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert!(!status.message().contains("handler"), "the caller hears nothing of the inside: {status:?}");

    let mut stream = support::streaming(channel.clone(), "PanicBody").await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "first");
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));

    assert_eq!(unary(channel, "Echo", "still here").await.unwrap().into_inner(), "still here");
}

#[tokio::test]
async fn calls_over_the_limit_are_refused_at_once_and_health_is_not() {
    let config = ServerConfig { max_calls: 1, max_streams: 1, ..ServerConfig::default() };
    let server = Server::builder(config).policy(support::policy());
    let demo = support::start(server, support::demo::routes("demo"), None).await;

    // One stream holds the only place of streams; calls have their own.
    let mut held = support::streaming(demo.channel().await, "Drip").await.unwrap();
    assert_eq!(held.message().await.unwrap().unwrap(), "first");
    assert_eq!(unary(demo.channel().await, "Echo", "a").await.unwrap().into_inner(), "a");
    let status = support::streaming(demo.channel().await, "Drip").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some());
    assert!(HealthClient::new(demo.channel().await).check(HealthCheckRequest::default()).await.is_ok());

    // The place comes back when the caller goes.
    drop(held);
    support::eventually("the place is free again", || async { support::streaming(demo.channel().await, "Drip").await.is_ok() })
        .await;
}

#[tokio::test]
async fn a_usable_request_id_is_echoed_and_any_other_replaced() {
    let demo = support::demo().await;
    let echoed = raw::call(demo.addr, "Echo", &[("x-request-id", "abc-1")]).await;
    assert_eq!(echoed.headers["x-request-id"], "abc-1");
    let long = "x".repeat(129);
    for given in [None, Some("with space"), Some(long.as_str())] {
        let headers: Vec<_> = given.iter().map(|id| ("x-request-id", *id)).collect();
        let answer = raw::call(demo.addr, "Echo", &headers).await;
        assert_eq!(answer.headers["x-request-id"].len(), 32, "{given:?}");
    }
    // Failures carry it too.
    let failed = raw::call(demo.addr, "Bare", &[("x-request-id", "abc-2")]).await;
    assert_eq!(failed.headers["x-request-id"], "abc-2");
}

#[tokio::test]
async fn reflection_answers_both_versions() {
    let routes = runmesh_host::reflection::routes(support::demo::routes("demo"), &[]).unwrap();
    let demo = support::start(Server::builder(ServerConfig::default()), routes, None).await;
    let list = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(demo.channel().await);
    let mut answers = client.server_reflection_info(futures::stream::iter([list])).await.unwrap().into_inner();
    let answer = tokio::time::timeout(Duration::from_secs(5), answers.message()).await.unwrap().unwrap().unwrap();
    assert!(format!("{answer:?}").contains("grpc.health.v1.Health"), "{answer:?}");

    let list = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::new(demo.channel().await);
    let mut answers = client.server_reflection_info(futures::stream::iter([list])).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
}
