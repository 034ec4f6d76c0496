//! Who a caller is: tokens that hold are believed, everything else is refused, and nobody can say it of themselves.

use crate::harness::small;
use crate::rpc::{Api, LONG, key, person, signed, why};
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{Principal, WorkerCredential};
use runmesh_host::identity::LocalIssuer;
use runmesh_host::signed::MeshKey;
use runmesh_testkit::mesh::KEY;
use runmesh_testkit::until;
use runmesh_wire::header;
use serde_json::json;
use std::process::Command;
use std::time::Duration;
use tonic::Code;

/// Runs `runmesh token` with the key of the mesh; what it printed.
fn token(arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("identity.key");
    std::fs::write(&file, KEY).expect("the key");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runmesh"));
    let output = command.arg("token").args(arguments).arg("--key-file").arg(&file).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_the_command_line_are_good_until_they_end() {
    let mesh = small().without_workers().start().await;
    let said = token(&["you", "--in", "acme", "--show-id"]);
    let you = UserId::of_subject("dev", "you").to_string();
    assert_eq!(said[0], you, "the id is shown");
    let answer = Api::of(&mesh).with_token(&said[1]).ok("GetOrg", json!({})).await;
    assert_eq!((&answer["org"]["name"], &answer["member"]["user_id"]), (&json!("acme"), &json!(you)));

    let short = Api::of(&mesh).with_token(&token(&["you", "--ttl", "1"])[0]);
    short.ok("GetOrg", json!({})).await;
    let expired = until("the token has expired", Duration::from_secs(30), || {
        let short = short.clone();
        async move { short.call("GetOrg", json!({})).await.err() }
    })
    .await;
    assert_eq!(why("expired", &expired), (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_verify_is_nobody() {
    let mesh = small().without_workers().start().await;
    let issued = |key: &MeshKey, issuer: &str, audience: &str| {
        let issuer = LocalIssuer::new(key, issuer, audience);
        issuer.issue_with("you", None, LONG, &[("orgs", json!(["dev"]))]).expect("a token")
    };
    let other = MeshKey::from_hex(&KEY.replace('0', "f")).expect("a key");
    let worker = signed(header::WORKER_TYPE, &WorkerCredential { id: "w".into(), orgs: None, agents: None });
    let you = Principal::User { org: OrgId::of_name("dev"), user: UserId::of_subject("dev", "you") };
    let good = person("you", &["dev"]);
    let (head, signature) = good.rsplit_once('.').expect("a signature");
    let cases = [
        ("another key", issued(&other, "dev", "runmesh")),
        ("another issuer", issued(&key(), "evil", "runmesh")),
        ("another audience", issued(&key(), "dev", "other")),
        ("no token", "nonsense".to_owned()),
        ("no signature", format!("{head}.")),
        ("a cut signature", format!("{head}.{}", &signature[1..])),
        ("a worker's credential", worker),
        ("the mesh's own word", signed(header::HOP_TYPE, &you)),
    ];
    for (case, token) in cases {
        let refused = Api::of(&mesh).with_token(&token).refused("GetOrg", json!({})).await;
        assert_eq!(why(case, &refused), (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()), "{case}: {refused:?}");
    }
    let no_bearer = Api::of(&mesh).with_header("authorization", "Basic eW91OnlvdQ==").refused("GetOrg", json!({})).await;
    assert_eq!(why("not a bearer token", &no_bearer).1, "UNAUTHENTICATED");
    let no_org = Api::of(&mesh).with_token(&person("you", &[])).refused("GetOrg", json!({})).await;
    assert_eq!(why("a token for no org", &no_org), (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_method_wants_its_own_kind_of_token() {
    let mesh = small().without_workers().start().await;
    let person = Api::of(&mesh).with_token(&person("you", &["dev"]));
    for method in ["Claim", "Heartbeat", "GetRunContext", "RecordStep", "Finish", "Release", "Append"] {
        for caller in [&Api::of(&mesh), &person] {
            let refused = caller.refused(method, json!({})).await;
            assert_eq!(why(method, &refused), (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()), "{method}: {refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_elsewhere_is_the_built_in_one() {
    let mesh = small().without_workers().start().await;
    let named = |id: &str| signed(header::WORKER_TYPE, &WorkerCredential { id: id.into(), orgs: None, agents: None });
    let built_in = Api::of(&mesh).with_token(&named("built-in"));
    let beat = json!({"session_id": "ses_00000000000000000000000000000001"});
    for (method, body) in [("Claim", json!({"hello": {"worker": "w", "capacity": 1}})), ("Heartbeat", beat.clone())] {
        let refused = built_in.refused(method, body).await;
        assert_eq!(why(method, &refused), (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()), "{refused:?}");
        assert!(refused.message().contains("built-in"), "it says why: {refused:?}");
    }
    Api::of(&mesh).with_token(&named("built-in-2")).ok("Heartbeat", beat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_principal_means_nothing() {
    let mesh = small().without_workers().start().await;
    let forged = Principal::User { org: OrgId::of_name("acme"), user: UserId::of_subject("dev", "you") };
    // Even one that would verify: only the gateway says it.
    for principal in [signed(header::HOP_TYPE, &forged), "nonsense".to_owned()] {
        let answer = Api::of(&mesh).with_header(header::PRINCIPAL, &principal).ok("GetOrg", json!({})).await;
        assert_eq!(answer["org"]["name"], "dev", "{answer}");
    }
    let behind_a_proxy = Api::of(&mesh).with_header("x-forwarded-for", "10.0.0.1").refused("GetOrg", json!({})).await;
    assert_eq!(why("from elsewhere, without credentials", &behind_a_proxy).1, "UNAUTHENTICATED");
}
