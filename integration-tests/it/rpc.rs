//! Any rpc by its name, with bodies as protobuf JSON or as bytes: for tests that go over the whole API, and for what no
//! generated client would send. Adds no retries and no deadlines of its own.

mod reasons;

use futures::stream;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use runmesh_client::{Client, Options, Org};
use runmesh_domain::principal::Principal;
use runmesh_host::identity::LocalIssuer;
use runmesh_host::signed::{MeshKey, Signer};
use runmesh_testkit::Service;
use runmesh_testkit::mesh::{KEY, Mesh};
use runmesh_wire::{descriptors, header, json};
use serde::Serialize;
use serde::de::DeserializeSeed as _;
use serde_json::Value;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// How long tokens of tests are good, unless they are to end.
pub const LONG: Duration = Duration::from_secs(3_600);

/// The key of the test meshes.
pub fn key() -> MeshKey {
    MeshKey::from_hex(KEY).expect("a key")
}

/// A token of `subject`, who acts in `orgs`.
pub fn person(subject: &str, orgs: &[&str]) -> String {
    let issuer = LocalIssuer::new(&key(), "dev", "runmesh");
    issuer.issue_with(subject, None, LONG, &[("orgs", serde_json::json!(orgs))]).expect("a token")
}

/// Claims of type `typ`, signed as the mesh signs them.
pub fn signed<T: Serialize>(typ: &str, claims: &T) -> String {
    Signer::new(&key(), typ, header::AUDIENCE).sign(claims, LONG).expect("a token")
}

/// One method of the API, by the descriptors.
pub struct Method {
    /// `/package.Service/Method`.
    pub path: String,
    /// Its own name, unique in the API.
    pub name: String,
    /// Full name of its request.
    pub request: String,
    /// Full name of its response.
    pub response: String,
    /// True when the request is one message with an idempotency key.
    pub has_key: bool,
}

/// Every method of the API.
pub fn methods() -> Vec<Method> {
    let pool = descriptors::pool().expect("descriptors");
    let services = pool.services();
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>()).map(|method| Method {
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        name: method.name().to_owned(),
        request: method.input().full_name().to_owned(),
        response: method.output().full_name().to_owned(),
        has_key: method.input().get_field_by_name("idempotency_key").is_some(),
    });
    methods.collect()
}

/// The method of that name.
pub fn method(name: &str) -> Method {
    methods().into_iter().find(|method| method.name == name).unwrap_or_else(|| panic!("there is no method {name}"))
}

/// Somebody who calls a mesh.
#[derive(Clone)]
pub struct Api {
    address: String,
    options: Options,
    headers: Vec<(&'static str, String)>,
}

impl Api {
    /// The one person of the development org, who shows nothing.
    pub fn of(mesh: &Mesh) -> Self {
        Self::at(mesh, 0)
    }

    /// As [`Api::of`], through that gateway.
    pub fn at(mesh: &Mesh, gateway: usize) -> Self {
        Self { address: mesh.gateway_url(gateway), options: Options::default(), headers: Vec::new() }
    }

    /// That principal, past the gateways, at one process: nothing is tried again there.
    pub fn behind(mesh: &Mesh, service: Service, principal: &Principal) -> Self {
        let api = Self { address: mesh.url(service), options: Options::default(), headers: Vec::new() };
        api.with_header(header::PRINCIPAL, &signed(header::HOP_TYPE, principal))
    }

    /// Whoever holds `token`.
    pub fn with_token(mut self, token: &str) -> Self {
        self.options.token = Some(token.to_owned());
        self
    }

    /// For the org `name`.
    pub fn in_org(mut self, name: &str) -> Self {
        self.options.org = Some(Org::from(name));
        self
    }

    /// With one more header.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// A client with the same credentials.
    pub fn client(&self) -> Client {
        Client::connect(&self.address, self.options.clone()).expect("a client")
    }

    /// A request with the headers of every call.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, value.parse().expect("a header"));
        }
        request
    }

    /// The first message that `name` answers `body` with.
    pub async fn call(&self, name: &str, body: Value) -> Result<Value, Status> {
        let method = method(name);
        let answer = self.send(&method.path, vec![encode(&method.request, body)]).await?;
        Ok(decode(&method.response, &answer))
    }

    /// As [`Api::call`], for what must be answered.
    pub async fn ok(&self, name: &str, body: Value) -> Value {
        self.call(name, body).await.unwrap_or_else(|status| panic!("{name}: {status:?}"))
    }

    /// As [`Api::call`], for what must be refused.
    pub async fn refused(&self, name: &str, body: Value) -> Status {
        match self.call(name, body.clone()).await {
            Ok(answer) => panic!("{name} {body} was answered {answer}"),
            Err(status) => status,
        }
    }

    /// Sends messages to a path; the first message of the answer. Whatever is refused must be for a reason that the rpc's own
    /// comment lists.
    pub async fn send(&self, path: &str, messages: Vec<Vec<u8>>) -> Result<Vec<u8>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.client().channel());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = self.request(stream::iter(messages));
        let answered = async {
            let answers = grpc.streaming(request, path.parse().expect("a path"), Plain).await?;
            Ok(answers.into_inner().message().await?.unwrap_or_default())
        };
        answered.await.inspect_err(|status| reasons::check(path, status))
    }
}

/// `body` as the bytes of the message `name`.
pub fn encode(name: &str, body: Value) -> Vec<u8> {
    let descriptor = descriptors::pool().and_then(|pool| pool.get_message_by_name(name)).expect("a message");
    descriptor.deserialize(body.clone()).unwrap_or_else(|error| panic!("{name} {body}: {error}")).encode_to_vec()
}

pub fn decode(name: &str, bytes: &[u8]) -> Value {
    let descriptor = descriptors::pool().and_then(|pool| pool.get_message_by_name(name)).expect("a message");
    let mut message = descriptor.deserialize(serde_json::json!({})).expect("an empty message");
    message.merge(bytes).expect("the method's message");
    json::of(name, &message)
}

/// The code and the reason of a refusal, which must carry exactly one ErrorInfo of ours.
pub fn why(case: &str, status: &Status) -> (Code, String) {
    let details = status.get_error_details_vec();
    let infos = details.iter().filter(|detail| matches!(detail, tonic_types::ErrorDetail::ErrorInfo(_))).count();
    assert_eq!(infos, 1, "{case}: {status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "runmesh", "{case}: {status:?}");
    (status.code(), info.reason)
}

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
