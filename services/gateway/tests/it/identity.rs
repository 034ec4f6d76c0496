//! Who is let in, as whom, and what those hear who are not.

use std::time::Duration;

use runmesh_domain::Reason;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::Principal;
use runmesh_gateway::GatewayConfig;
use runmesh_host::signed::{MeshKey, Signer};
use runmesh_wire::header;
use runmesh_wire::pb::run::SendMessageRequest;
use runmesh_wire::pb::stream::AppendRequest;
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::support::behind::Behind;
use crate::support::{Gateway, by, config, pair, raw, reason, refused, soon, tokens, with};

async fn send(gateway: &Gateway, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    gateway.runs().await.send_message(with(SendMessageRequest::default(), headers)).await.map(|_| ())
}

async fn send_as(gateway: &Gateway, token: &str) -> Result<(), Status> {
    send(gateway, &[("authorization", &format!("Bearer {token}"))]).await
}

fn user(org: &str, subject: &str) -> Principal {
    Principal::User { org: OrgId::of_name(org), user: UserId::of_subject(tokens::ISSUER, subject) }
}

#[tokio::test]
async fn a_person_is_who_the_token_says() {
    let (behind, gateway) = pair().await;
    send_as(&gateway, &tokens::ann()).await.unwrap();
    let call = behind.last();
    assert_eq!(call.principal, user("acme", "ann"));
    assert!(call.principal_ends.abs_diff(tokens::now() + 60) <= 2, "the hop's own life");

    send_as(&gateway, &tokens::person("bob", json!({"orgs": OrgId::of_name("acme").to_string()}))).await.unwrap();
    assert_eq!(behind.last().principal, user("acme", "bob"), "one org, by its id");
    for _ in 0..3 {
        send_as(&gateway, &tokens::ann()).await.unwrap();
        assert_eq!(behind.last().principal, user("acme", "ann"), "remembered as the same");
    }
}

#[tokio::test]
async fn bad_credentials_are_refused_and_nothing_goes_on() {
    let (behind, gateway) = pair().await;
    assert_eq!(refused(send(&gateway, &[]).await), Reason::Unauthenticated);
    assert_eq!(refused(send(&gateway, &[("authorization", "Basic YTpi")]).await), Reason::Unauthenticated);
    assert_eq!(refused(send(&gateway, &[("authorization", "Bearer ")]).await), Reason::Unauthenticated);
    for (what, token) in [
        ("rubbish", "a.b.c".to_owned()),
        ("another key", tokens::person_signed_by(8, "ann", json!({}))),
        ("another issuer", tokens::person("ann", json!({"iss": "https://evil.example"}))),
        ("another audience", tokens::person("ann", json!({"aud": "elsewhere"}))),
        ("not yet", tokens::person("ann", json!({"nbf": tokens::now() + 600}))),
        ("nobody", tokens::person("", json!({}))),
        ("a worker", tokens::worker(Duration::from_secs(60))),
        ("a lease", tokens::lease(Duration::from_secs(60))),
    ] {
        assert_eq!(refused(send_as(&gateway, &token).await), Reason::Unauthenticated, "{what}");
    }
    let past = tokens::person("ann", json!({"exp": tokens::now() - 60}));
    assert_eq!(refused(send_as(&gateway, &past).await), Reason::TokenExpired);
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn a_hops_principal_is_no_credential() {
    let (behind, gateway) = pair().await;
    let key = MeshKey::from_hex(&tokens::hex(tokens::MESH)).unwrap();
    let hop = Signer::new(&key, header::HOP_TYPE, header::AUDIENCE).sign(&user("acme", "root"), Duration::from_secs(60)).unwrap();
    assert_eq!(refused(send_as(&gateway, &hop).await), Reason::Unauthenticated);
    assert_eq!(refused(send(&gateway, &[("x-runmesh-principal", &hop)]).await), Reason::Unauthenticated);
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn a_person_of_several_orgs_names_one() {
    let (behind, gateway) = pair().await;
    let token = format!("Bearer {}", tokens::person("ann", json!({"orgs": ["acme", "beta"]})));
    let asked = async |org: &str| send(&gateway, &[("authorization", &token), ("x-runmesh-org", org)]).await;
    asked("beta").await.unwrap();
    assert_eq!(behind.last().principal, user("beta", "ann"));
    asked(&OrgId::of_name("acme").to_string()).await.unwrap();
    assert_eq!(behind.last().principal, user("acme", "ann"));
    assert!(!behind.last().headers.contains_key("x-runmesh-org"));

    assert_eq!(refused(asked("gamma").await), Reason::PermissionDenied);
    assert_eq!(refused(asked("").await), Reason::InvalidField);
    assert_eq!(refused(send(&gateway, &[("authorization", &token)]).await), Reason::InvalidField);
    let nowhere = tokens::person("ann", json!({"orgs": []}));
    assert_eq!(refused(send_as(&gateway, &nowhere).await), Reason::PermissionDenied);
}

#[tokio::test]
async fn a_token_may_leave_it_to_the_memberships() {
    let (behind, gateway) = pair().await;
    let token = format!("Bearer {}", tokens::person("ann", json!({"orgs": "*"})));
    send(&gateway, &[("authorization", &token), ("x-runmesh-org", "beta")]).await.unwrap();
    assert_eq!(behind.last().principal, user("beta", "ann"));
    assert_eq!(refused(send(&gateway, &[("authorization", &token)]).await), Reason::InvalidField, "one has to be named");
}

#[tokio::test]
async fn what_concerns_no_org_needs_none() {
    let (_behind, gateway) = pair().await;
    let list = async |token: &str| {
        let path = "/runmesh.org.v1.OrgService/ListOrgs";
        reason(&raw::call(gateway.addr, path, &[("authorization", token)], raw::message(0, b"")).await.status())
    };
    for orgs in [json!([]), json!(["acme", "beta"]), json!("*")] {
        let token = format!("Bearer {}", tokens::person("ann", json!({"orgs": orgs})));
        assert_eq!(list(&token).await, Reason::UnknownMethod, "let through to a server that has no such service");
    }
    let worker = format!("Bearer {}", tokens::worker(Duration::from_secs(60)));
    assert_eq!(list(&worker).await, Reason::Unauthenticated);
    assert_eq!(list("Bearer x").await, Reason::Unauthenticated);
}

#[tokio::test]
async fn an_issuer_that_knows_no_orgs_may_have_a_default() {
    let behind = Behind::start("behind").await;
    let mut with_default = config(&[&behind]);
    with_default.jwt.as_mut().unwrap().org_claim = "https://acme.example/orgs".to_owned();
    with_default.jwt.as_mut().unwrap().default_org = Some("home".to_owned());
    let gateway = Gateway::start(with_default).await;
    send_as(&gateway, &tokens::ann()).await.unwrap();
    assert_eq!(behind.last().principal, user("home", "ann"));
    send_as(&gateway, &tokens::person("ann", json!({"https://acme.example/orgs": ["work"]}))).await.unwrap();
    assert_eq!(behind.last().principal, user("work", "ann"));
}

async fn append(gateway: &Gateway, token: &str) -> Result<Response<()>, Status> {
    let request = by(token, tokio_stream::once(AppendRequest::default()));
    soon(gateway.streams().await.append(request)).await.map(|answer| answer.map(|_| ()))
}

#[tokio::test]
async fn a_lease_is_its_run_token() {
    let (behind, gateway) = pair().await;
    append(&gateway, &tokens::lease(Duration::from_secs(60))).await.unwrap();
    assert_eq!(behind.last().principal, Principal::Lease(tokens::claim()));
    for token in [tokens::ann(), tokens::worker(Duration::from_secs(60))] {
        assert_eq!(refused(append(&gateway, &token).await), Reason::Unauthenticated);
    }
    let request = Request::new(tokio_stream::once(AppendRequest::default()));
    assert_eq!(refused(gateway.streams().await.append(request).await), Reason::Unauthenticated);
}

/// A gateway where no token of a person is needed on this machine.
async fn dev(behind: &Behind) -> Gateway {
    Gateway::start(GatewayConfig { dev: true, jwt: None, ..config(&[behind]) }).await
}

#[tokio::test]
async fn in_development_a_local_caller_is_you() {
    let behind = Behind::start("behind").await;
    let gateway = dev(&behind).await;
    send(&gateway, &[]).await.unwrap();
    let you = Principal::User { org: OrgId::of_name("dev"), user: UserId::of_subject("dev", "you") };
    assert_eq!(behind.last().principal, you);
    send(&gateway, &[("x-runmesh-org", "dev"), ("origin", "http://localhost:3000")]).await.unwrap();
    assert_eq!(behind.last().principal, you);

    send(&gateway, &[("x-runmesh-org", "acme")]).await.unwrap();
    let elsewhere = Principal::User { org: OrgId::of_name("acme"), user: UserId::of_subject("dev", "you") };
    assert_eq!(behind.last().principal, elsewhere, "services find out whether you belong there");

    assert_eq!(refused(send_as(&gateway, &tokens::ann()).await), Reason::Unauthenticated, "a token is never ignored");
    assert_eq!(refused(append(&gateway, "x").await), Reason::Unauthenticated);
}

#[tokio::test]
async fn in_development_nobody_else_is() {
    let behind = Behind::start("behind").await;
    let gateway = dev(&behind).await;
    for header in
        [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("origin", "https://evil.example"), ("origin", "null")]
    {
        assert_eq!(refused(send(&gateway, &[header]).await), Reason::Unauthenticated, "{header:?}");
    }
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn outside_development_a_local_caller_is_nobody() {
    let (behind, gateway) = pair().await;
    assert_eq!(refused(send(&gateway, &[]).await), Reason::Unauthenticated);
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn a_worker_is_its_credential() {
    let (_behind, gateway) = pair().await;
    let beat = async |token: &str| {
        let headers = [("authorization", token)];
        let path = "/runmesh.worker.v1.WorkerService/Heartbeat";
        reason(&raw::call(gateway.addr, path, &headers, raw::message(0, b"")).await.status())
    };
    let credential = format!("Bearer {}", tokens::worker(Duration::from_secs(60)));
    assert_eq!(beat(&credential).await, Reason::UnknownMethod, "let through to a server that has no such service");
    for token in [tokens::ann(), tokens::lease(Duration::from_secs(60))] {
        assert_eq!(beat(&format!("Bearer {token}")).await, Reason::Unauthenticated);
    }
}
