//! gRPC-Web and CORS, for the edge only. They sit outside all other layers: those see plain gRPC, with real trailers.

use http::{HeaderName, HeaderValue};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer, ExposeHeaders};

use super::stack::Stack;

/// Headers of an answer a browser must be allowed to read: failures without a body carry their status there.
const EXPOSED: [&str; 4] = ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"];

pub(super) fn wrap(stack: Stack, origins: &[String]) -> Cors<GrpcWebService<Stack>> {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([http::Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(EXPOSED.map(HeaderName::from_static)));
    cors.layer(GrpcWebLayer::new().layer(stack))
}
