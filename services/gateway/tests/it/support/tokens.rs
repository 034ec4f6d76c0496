//! Tokens as the identity provider and the mesh would make them, good and bad.

pub mod published;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use runmesh_domain::id::{OrgId, RunId, SessionId, ThreadId};
use runmesh_domain::principal::{LeaseClaim, WorkerCredential};
use runmesh_host::signed::{MeshKey, Signer};
use runmesh_wire::header;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "runmesh";
/// The byte that the mesh's key is made of.
pub const MESH: u8 = 7;
/// The byte that the issuer's key is made of.
pub const ISSUERS: u8 = 9;

/// A key of 32 equal bytes in hexadecimal digits.
pub fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of the issuer, with `more` in place of or beside the usual claims.
pub fn person(subject: &str, more: Value) -> String {
    person_signed_by(ISSUERS, subject, more)
}

pub fn person_signed_by(key: u8, subject: &str, more: Value) -> String {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now() + 600, "orgs": ["acme"]});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&[key; 32])).unwrap()
}

/// Ann of the org acme.
pub fn ann() -> String {
    person("ann", json!({}))
}

fn signer(typ: &str) -> Signer {
    Signer::new(&MeshKey::from_hex(&hex(MESH)).unwrap(), typ, header::AUDIENCE)
}

pub fn credential() -> WorkerCredential {
    WorkerCredential { id: "wrk".to_owned(), orgs: Some(vec![OrgId::of_name("acme")]), agents: None }
}

pub fn worker(ttl: Duration) -> String {
    signer(header::WORKER_TYPE).sign(&credential(), ttl).unwrap()
}

pub fn claim() -> LeaseClaim {
    LeaseClaim {
        org: OrgId::of_name("acme"),
        thread: ThreadId::derived(&[b"t"]),
        run: RunId::derived(&[b"r"]),
        fence: 3,
        session: SessionId::derived(&[b"s"]),
    }
}

pub fn lease(ttl: Duration) -> String {
    signer(header::RUN_TYPE).sign(&claim(), ttl).unwrap()
}
