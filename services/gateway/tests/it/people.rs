//! Where the keys of the issuer come from: configuration that makes no sense, and published keys.

use axum::routing::get;
use runmesh_domain::Reason;
use runmesh_gateway::config::JwtConfig;
use runmesh_gateway::{GatewayConfig, ServeError};
use runmesh_host::Lifecycle;
use runmesh_host::config::load_from;
use runmesh_host::health::Reporter;
use runmesh_wire::pb::run::SendMessageRequest;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::behind::Behind;
use crate::support::{Gateway, by, config, eventually, jwt, reason, tokens};

async fn refusal(config: GatewayConfig) -> ServeError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    runmesh_gateway::serve(config, listener, Lifecycle::new(), Reporter::new(&[])).await.unwrap_err()
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_before_anything_is_served() {
    let behind = Behind::start("behind").await;
    let good = config(&[&behind]);
    for (bad, named) in [
        (GatewayConfig { jwt: None, ..good.clone() }, "jwt"),
        (GatewayConfig { mesh_key: None, ..good.clone() }, "mesh_key"),
        (GatewayConfig { mesh_key_file: Some("/nowhere".into()), ..good.clone() }, "mesh_key"),
        (GatewayConfig { relays: Vec::new(), ..good.clone() }, "stream-relay"),
        (GatewayConfig { relays: vec!["relay:1".to_owned()], ..good.clone() }, "relay:1"),
        (GatewayConfig { jwt: Some(JwtConfig { key: None, ..jwt() }), ..good.clone() }, "jwks_url"),
        (GatewayConfig { jwt: Some(JwtConfig { jwks_file: Some("/keys".into()), ..jwt() }), ..good.clone() }, "jwks_file"),
        (
            GatewayConfig {
                jwt: Some(JwtConfig { key: None, jwks_url: Some("http://id.example/keys".to_owned()), ..jwt() }),
                ..good.clone()
            },
            "https",
        ),
    ] {
        let error = refusal(bad).await;
        assert!(error.is_config(), "{error}");
        assert!(error.to_string().contains(named), "{error} does not say {named}");
    }
}

#[test]
fn the_environment_sets_everything() {
    let environment = [
        ("RUNMESH_GATEWAY__LISTEN", "0.0.0.0:7420"),
        ("RUNMESH_GATEWAY__RELAYS", "dns:///stream-relay:7433, http://127.0.0.1:1"),
        ("RUNMESH_GATEWAY__MESH_KEY", &tokens::hex(1)),
        ("RUNMESH_GATEWAY__JWT__ISSUER", "https://id.example"),
        ("RUNMESH_GATEWAY__JWT__JWKS_URL", "https://id.example/keys"),
        ("RUNMESH_GATEWAY__LIMITS__CALLS_PER_SECOND", "7"),
        ("RUNMESH_GATEWAY__SERVER__CORS_ORIGINS", "https://app.example"),
        ("RUNMESH_GATEWAY__GRPC_WEB", "false"),
    ];
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config: GatewayConfig = load_from("gateway", None, Some(environment)).unwrap();
    assert_eq!(config.relays, ["dns:///stream-relay:7433", "http://127.0.0.1:1"]);
    assert_eq!((config.limits.calls_per_second, config.limits.calls_burst), (7, 400));
    assert_eq!(config.server.cors_origins, ["https://app.example"]);
    assert!(!config.grpc_web && config.mesh_key.is_some());
    assert_eq!(config.jwt.unwrap().audience, "runmesh");
}

#[test]
fn a_misspelt_setting_is_named() {
    let environment = [("RUNMESH_GATEWAY__RELAY".to_owned(), "http://127.0.0.1:1".to_owned())].into();
    let error = load_from::<GatewayConfig>("gateway", None, Some(environment)).unwrap_err();
    assert!(error.to_string().contains("relay"), "{error}");
}

async fn send(gateway: &Gateway, kid: &str) -> Result<(), Status> {
    let request = by(&tokens::published::person(kid), SendMessageRequest::default());
    gateway.runs().await.send_message(request).await.map(|_| ())
}

fn with_keys(behind: &Behind, keys: JwtConfig) -> GatewayConfig {
    GatewayConfig { jwt: Some(JwtConfig { key: None, ..keys }), ..config(&[behind]) }
}

#[tokio::test]
async fn keys_are_fetched_from_the_issuer() {
    let behind = Behind::start("behind").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let issuer = axum::Router::new().route("/keys", get(|| async { tokens::published::jwks("one") }));
    let serving = tokio::spawn(async move { axum::serve(listener, issuer).await });
    let gateway = Gateway::start(with_keys(&behind, JwtConfig { jwks_url: Some(url), ..jwt() })).await;
    eventually("the key is known", async || send(&gateway, "one").await.is_ok()).await;
    assert_eq!(reason(&send(&gateway, "two").await.unwrap_err()), Reason::Unauthenticated);
    serving.abort();
    send(&gateway, "one").await.unwrap();
}

#[tokio::test]
async fn until_the_keys_are_known_nobody_can_be_told_apart() {
    let behind = Behind::start("behind").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let gateway = Gateway::start(with_keys(&behind, JwtConfig { jwks_file: Some(file.clone()), ..jwt() })).await;
    let health = async || {
        let answer = HealthClient::new(gateway.channel().await).check(HealthCheckRequest::default()).await;
        answer.unwrap().get_ref().status()
    };
    assert_eq!(health().await, ServingStatus::NotServing);
    let status = send(&gateway, "one").await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Reason::Unavailable));

    std::fs::write(&file, tokens::published::jwks("one")).unwrap();
    eventually("the key is known", async || send(&gateway, "one").await.is_ok()).await;
    eventually("the gateway serves", async || health().await == ServingStatus::Serving).await;
    assert_eq!(behind.calls(), 1);
}
