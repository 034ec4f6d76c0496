//! The check of every call before it goes on: a known method, plain messages, good credentials, not too often. Leaves the
//! headers without the caller's identity and with the mesh's own.

use std::sync::Arc;

use http::header::{AUTHORIZATION, ORIGIN};
use http::{Extensions, HeaderMap, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use runmesh_domain::principal::Principal;
use runmesh_domain::{Reason, Refusal};
use runmesh_host::deadline::{self, Deadline};
use runmesh_host::server::{Guard, is_infrastructure};
use runmesh_wire::{header, status};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;

use crate::admission::Admission;
use crate::forward::Route;
use crate::identity::{Credentials, Identities};
use crate::methods::{self, Class, Method};
use crate::{headers, metrics};

/// The header by which a caller says that its messages are compressed.
const GRPC_ENCODING: &str = "grpc-encoding";

/// Who may come in.
pub(crate) struct Edge {
    identities: Arc<Identities>,
    admission: Admission,
    refused: Counter<u64>,
}

impl Edge {
    pub(crate) fn new(identities: Arc<Identities>, admission: Admission) -> Self {
        let refused = opentelemetry::global::meter("runmesh-gateway").u64_counter(metrics::REFUSED).build();
        Self { identities, admission, refused }
    }

    fn admit(&self, path: &str, headers: &mut HeaderMap, extensions: &mut Extensions) -> Result<(), Status> {
        let given = Given::take(headers, extensions);
        if is_infrastructure(path) {
            return Ok(());
        }
        let method = methods::find(path).ok_or_else(|| status::plain(Reason::UnknownMethod, "no such method"))?;
        refuse_compression(headers)?;
        let who = self.identities.establish(&given.credentials(method)?).map_err(|error| status::of(&error))?;
        if let Principal::User { user, .. } | Principal::Person { user, .. } = who.principal
            && !self.admission.admit(user, Instant::now())
        {
            // By the host's status, for it says when to come back.
            let reason = Reason::RateLimit;
            return Err(runmesh_host::status::with_reason(status::code(reason), "too many calls, slow down", reason.name()));
        }
        let pass = self.identities.pass(&who, method.class).map_err(|error| status::of(&error))?;
        headers.insert(header::PRINCIPAL, pass.hop);
        extensions.insert(Route { method, ends: pass.ends });
        if method.class == Class::Short && deadline::from_headers(headers).is_none() {
            extensions.extend(default_deadline());
        }
        Ok(())
    }
}

impl Guard for Edge {
    fn check(&self, path: &str, headers: &mut HeaderMap, extensions: &mut Extensions) -> Result<(), Status> {
        self.admit(path, headers, extensions).inspect_err(|refusal| {
            let reason = status::reason(refusal).map_or("INTERNAL", Reason::name);
            self.refused.add(1, &[KeyValue::new("reason", reason)]);
        })
    }
}

fn default_deadline() -> Extensions {
    let mut one = Extensions::new();
    if let Some(deadline) = Deadline::after(methods::SHORT_DEFAULT) {
        one.insert(deadline);
    }
    one
}

/// What the caller says of itself, taken off the headers.
struct Given {
    authorization: Option<HeaderValue>,
    org: Option<HeaderValue>,
    is_local: bool,
}

impl Given {
    fn take(headers: &mut HeaderMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let is_local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
            && !headers::came_by_proxy(headers)
            && headers.get(ORIGIN).is_none_or(is_local_page);
        let given = Self { authorization: headers.remove(AUTHORIZATION), org: headers.remove(header::ORG), is_local };
        headers::strip(headers);
        given
    }

    fn credentials(&self, method: &Method) -> Result<Credentials<'_>, Status> {
        let bearer = self.authorization.as_ref().map(bearer).transpose().map_err(|refusal| status::of_refusal(&refusal))?;
        let org = self.org.as_ref().map(HeaderValue::to_str).transpose();
        let org = org.map_err(|_| status::of_refusal(&Refusal::field(header::ORG, "is not visible ascii")))?;
        Ok(Credentials { caller: method.caller, bearer, org, is_local: self.is_local })
    }
}

/// Whether a page of this machine calls: a page from elsewhere must not act as its user merely because the browser runs here.
fn is_local_page(origin: &HeaderValue) -> bool {
    let Ok(uri) = origin.as_bytes().try_into().map(|uri: http::Uri| uri) else { return false };
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The token of `authorization: Bearer …`.
fn bearer(value: &HeaderValue) -> Result<&str, Refusal> {
    let refused = Refusal::Unauthenticated { why: "authorization is not `Bearer` and a token" };
    let Some((scheme, token)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else { return Err(refused) };
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(refused) }
}

/// Sizes are known only of plain messages: a small one that unpacks to a large one must not get in.
fn refuse_compression(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(GRPC_ENCODING) {
        Some(encoding) if encoding.as_bytes() != b"identity" => Err(compressed()),
        _ => Ok(()),
    }
}

/// The answer to compressed messages, with what is accepted instead.
pub(crate) fn compressed() -> Status {
    let mut status = status::plain(Reason::MalformedMessage, "compressed messages are not accepted here");
    status.metadata_mut().insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity"));
    status
}
