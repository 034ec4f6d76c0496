//! What the tests share: a gateway on port 0 in front of a small server, tokens, conditions with a deadline.

pub mod behind;
pub mod raw;
pub mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use runmesh_domain::Reason;
use runmesh_gateway::GatewayConfig;
use runmesh_gateway::config::JwtConfig;
use runmesh_host::Lifecycle;
use runmesh_host::health::Reporter;
use runmesh_host::signed::MeshKey;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::stream::{AttachRunRequest, AttachRunResponse};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetail, StatusExt as _};

use behind::Behind;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running gateway.
pub struct Gateway {
    pub addr: SocketAddr,
    pub life: Lifecycle,
}

impl Gateway {
    pub async fn start(config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let life = Lifecycle::new();
        runmesh_gateway::serve(config, listener, life.clone(), Reporter::new(runmesh_gateway::services())).await.unwrap();
        Self { addr, life }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap()
    }

    /// A stream of [`behind::FLOOD`] that nobody reads, on a connection of its own.
    pub async fn unread(&self, token: &str) -> tonic::Streaming<AttachRunResponse> {
        let request = AttachRunRequest { run_id: behind::FLOOD.to_owned(), from: None };
        self.streams().await.attach_run(by(token, request)).await.unwrap().into_inner()
    }

    pub async fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel().await)
    }

    pub async fn streams(&self) -> StreamServiceClient<Channel> {
        StreamServiceClient::new(self.channel().await)
    }
}

/// A gateway for people with tokens, in front of `behind`.
pub fn config(behind: &[&Behind]) -> GatewayConfig {
    let urls: Vec<String> = behind.iter().map(|server| format!("http://{}", server.addr)).collect();
    GatewayConfig {
        orchestrators: urls.clone(),
        approvals: urls.clone(),
        relays: urls.clone(),
        summaries: urls,
        mesh_key: Some(MeshKey::from_hex(&tokens::hex(tokens::MESH)).unwrap()),
        jwt: Some(jwt()),
        ..GatewayConfig::default()
    }
}

pub fn jwt() -> JwtConfig {
    JwtConfig {
        issuer: tokens::ISSUER.to_owned(),
        audience: tokens::AUDIENCE.to_owned(),
        key: Some(MeshKey::from_hex(&tokens::hex(tokens::ISSUERS)).unwrap()),
        key_file: None,
        jwks_file: None,
        jwks_url: None,
        org_claim: "orgs".to_owned(),
        default_org: None,
    }
}

/// One server and a gateway in front of it.
pub async fn pair() -> (Behind, Gateway) {
    let behind = Behind::start("behind").await;
    let gateway = Gateway::start(config(&[&behind])).await;
    (behind, gateway)
}

/// `message` with headers.
pub fn with<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

/// `message` with `token` as its bearer token.
pub fn by<T>(token: &str, message: T) -> Request<T> {
    with(message, &[("authorization", &format!("Bearer {token}"))])
}

/// The one reason of `status`; panics when there is none or more than one, or when the code does not go with it.
pub fn reason(status: &Status) -> Reason {
    let details = status.get_error_details_vec();
    let infos: Vec<_> =
        details.iter().filter_map(|detail| if let ErrorDetail::ErrorInfo(info) = detail { Some(info) } else { None }).collect();
    assert_eq!(infos.len(), 1, "{status:?}");
    assert_eq!(infos[0].domain, "runmesh");
    let reason = Reason::from_name(&infos[0].reason).unwrap();
    assert_eq!(status.code(), runmesh_wire::status::code(reason), "{status:?}");
    reason
}

/// What `answer` was refused for.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Reason {
    let status = answer.unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    reason(&status)
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, what, condition).await;
}

/// As [`eventually`], for what takes longer.
pub async fn eventually_within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for `work`, but not for ever.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}
