//! What the tests share: a server on port 0, a client of raw bytes, conditions with a deadline.

pub mod codec;
pub mod demo;
pub mod link;
pub mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use runmesh_host::health::Reporter;
use runmesh_host::server::{Policy, Server, ServerConfig};
use runmesh_host::{Lifecycle, Upstream, UpstreamConfig};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::StdError;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetail, StatusExt};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Running {
    pub addr: SocketAddr,
    pub life: Lifecycle,
    pub health: Reporter,
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).unwrap().connect().await.unwrap()
    }

    /// As a killed process: no goodbye.
    pub async fn kill(&self) {
        self.life.hard().cancel();
        assert!(self.life.drain(Duration::from_secs(5)).await);
    }
}

/// The demo service with default settings.
pub async fn demo() -> Running {
    start(Server::builder(ServerConfig::default()).policy(policy()), demo::routes("demo"), None).await
}

pub async fn demo_at(name: &'static str, addr: Option<SocketAddr>) -> Running {
    start(Server::builder(ServerConfig::default()).policy(policy()), demo::routes(name), addr).await
}

pub fn policy() -> Policy {
    Policy { reason: runmesh_host::status::name, knows: |path| path.starts_with("/demo.v1.Demo/"), deadline: class }
}

fn class(path: &str) -> Option<Duration> {
    match path.rsplit('/').next() {
        Some("Slow" | "Drip" | "Flood" | "FloodThatIsOver" | "Hoard") => None,
        Some("SlowClass") => Some(Duration::from_millis(150)),
        _ => Some(Duration::from_secs(30)),
    }
}

pub async fn start(server: Server, routes: Routes, addr: Option<SocketAddr>) -> Running {
    let listener = TcpListener::bind(addr.unwrap_or(([127, 0, 0, 1], 0).into())).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (life, health) = (Lifecycle::new(), Reporter::new(&["demo.v1.Demo"]));
    health.set_all_serving();
    life.spawn("grpc", server.health(health.clone()).serve(listener, routes, life.clone()));
    Running { addr, life, health }
}

pub fn upstream(config: UpstreamConfig) -> Upstream {
    Upstream::new(config).unwrap()
}

/// Calls a method of the demo with `body` and returns the answer's bytes.
pub async fn unary<S>(service: S, method: &str, body: &str) -> Result<Response<Bytes>, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError>,
{
    unary_request(service, method, Request::new(Bytes::from(body.to_owned()))).await
}

pub async fn unary_request<S>(service: S, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError>,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(request, path(method), codec::Raw).await
}

/// Opens a stream of a method of the demo.
pub async fn streaming<S>(service: S, method: &str) -> Result<tonic::Streaming<Bytes>, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError>,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(client.server_streaming(Request::new(Bytes::new()), path(method), codec::Raw).await?.into_inner())
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/demo.v1.Demo/{method}").parse().unwrap()
}

/// The reason of the one `ErrorInfo`; panics when there is none or more than one.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details_vec();
    let infos: Vec<_> =
        details.iter().filter_map(|detail| if let ErrorDetail::ErrorInfo(info) = detail { Some(info) } else { None }).collect();
    assert_eq!(infos.len(), 1, "{status:?}");
    assert_eq!(infos[0].domain, "runmesh");
    infos[0].reason.clone()
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
