//! What a caller's headers may not carry inside. Takes off; never adds.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

/// Prefix of the mesh's own headers: from outside none of them means anything.
const OURS: &str = "x-runmesh-";

/// Headers by which proxies tell servers who somebody is; nobody behind this one may believe them.
const IDENTITIES: [&str; 11] = [
    "forwarded",
    "remote-user",
    "x-auth-request-access-token",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-remote-user",
];

/// Headers of a connection over HTTP/1.1 (gRPC-Web), and offers that are not passed on: no service compresses for a caller.
const HOP_BY_HOP: [&str; 7] =
    ["grpc-accept-encoding", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "x-real-ip"];

/// Whether a proxy brought the call: then its peer says nothing about where the caller is.
pub(crate) fn came_by_proxy(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

/// Takes off everything that could pass for an identity, and what belongs to the caller's connection only.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    for name in IDENTITIES.iter().chain(&HOP_BY_HOP) {
        headers.remove(*name);
    }
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}
