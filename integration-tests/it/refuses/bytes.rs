//! What is no message at all: every method refuses garbage, and says so in the same way.

use super::{check, no};
use crate::harness::small;
use crate::rpc::{Api, encode, methods, person, signed};
use runmesh_domain::id::{OrgId, RunId, SessionId, ThreadId};
use runmesh_domain::principal::{LeaseClaim, WorkerCredential};
use runmesh_testkit::mesh::Mesh;
use runmesh_wire::header;
use serde_json::json;
use std::str::FromStr as _;
use tonic::{Code, Status};

const MALFORMED: super::Want = no(Code::InvalidArgument, "MALFORMED_MESSAGE");
const SEND: &str = "/runmesh.run.v1.RunService/SendMessage";

/// Callers of every kind; the lease is of a run that does not exist.
fn callers(mesh: &Mesh) -> [Api; 3] {
    let worker = WorkerCredential { id: "external".into(), orgs: None, agents: None };
    let lease = LeaseClaim {
        org: OrgId::of_name("dev"),
        thread: ThreadId::from_str(super::UNKNOWN_THREAD).unwrap(),
        run: RunId::from_str(super::UNKNOWN_RUN).unwrap(),
        fence: 1,
        session: SessionId::from_str(super::UNKNOWN_SESSION).unwrap(),
    };
    let tokens = [person("you", &["dev"]), signed(header::WORKER_TYPE, &worker), signed(header::RUN_TYPE, &lease)];
    tokens.map(|token| Api::of(mesh).with_token(&token))
}

/// What the one caller who may call `path` hears.
async fn heard(callers: &[Api; 3], path: &str, message: &[u8]) -> Status {
    for caller in callers {
        match caller.send(path, vec![message.to_vec()]).await {
            Ok(answer) => panic!("{path} answered {answer:?}"),
            Err(status) if status.code() == Code::Unauthenticated => {}
            Err(status) => return status,
        }
    }
    panic!("nobody may call {path}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage() {
    let mesh = small().without_workers().start().await;
    let callers = callers(&mesh);
    for method in methods() {
        let refused = heard(&callers, &method.path, &[0xff; 12]).await;
        check(&method.path, &refused, MALFORMED);
    }
    let bad_utf8 = Api::of(&mesh).send(SEND, vec![vec![0x0a, 1, 0xff]]).await.unwrap_err();
    check("bad UTF-8", &bad_utf8, MALFORMED);
    let key = encode("runmesh.run.v1.SendMessageRequest", json!({"idempotency_key": "key"}));
    let cut = Api::of(&mesh).send(SEND, vec![key[..3].to_vec()]).await.unwrap_err();
    check("a cut message", &cut, MALFORMED);
    let two = Api::of(&mesh).send(SEND, vec![key.clone(), key]).await.unwrap_err();
    check("two messages where one is taken", &two, MALFORMED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_methods_and_large_messages() {
    let mesh = small().without_workers().start().await;
    let api = Api::of(&mesh);
    for path in ["/runmesh.run.v1.RunService/Nothing", "/runmesh.run.v9.RunService/GetRun", "/x/y"] {
        let refused = api.send(path, vec![Vec::new()]).await.unwrap_err();
        check(path, &refused, no(Code::Unimplemented, "UNKNOWN_METHOD"));
    }
    let message = vec![b'a'; (1 << 20) + (64 << 10) + 1];
    let large = no(Code::InvalidArgument, "MESSAGE_TOO_LARGE");
    for method in methods() {
        check(&method.path, &heard(&callers(&mesh), &method.path, &message).await, large);
    }
}
