//! The one type of channel that clients of the mesh are built over, whoever picks the upstream.

use tonic::body::Body;

/// Any error of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A cheap-to-clone way to call the mesh: a picker of upstreams, or a plain channel.
pub type MeshChannel = tower::util::BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// Boxes any service that takes gRPC requests.
pub fn boxed<S>(service: S) -> MeshChannel
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
{
    MeshChannel::new(tower::ServiceExt::map_err(service, Into::into))
}
