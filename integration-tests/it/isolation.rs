//! T1: an org is a wall. What is behind it does not exist for others, and within it only admins change what is not theirs.

use crate::harness::small;
use crate::rpc::{Api, person, why};
use runmesh_domain::id::UserId;
use runmesh_testkit::mesh::Mesh;
use serde_json::{Value, json};
use tonic::Code;

/// An org with something of everything in it. Nobody drives its run.
struct Acme {
    admin: Api,
    thread: String,
    run: String,
    message: String,
    cursor: String,
    agent: String,
    /// Somebody who acts in this org only, and is not a member yet.
    mia: Api,
    mia_id: String,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

impl Acme {
    async fn of(mesh: &Mesh) -> Self {
        let admin = Api::of(mesh).with_token(&person("you", &["dev", "acme"])).in_org("acme");
        let agent = admin.ok("CreateAgent", json!({"idempotency_key": "a", "name": "secret-agent", "spec": {}})).await;
        let agent = text(&agent, "/agent/agent_id");
        let thread = json!({"idempotency_key": "t", "agent": agent, "title": "secret title"});
        let thread = text(&admin.ok("CreateThread", thread).await, "/thread/thread_id");
        let sent = json!({"idempotency_key": "s", "thread_id": thread, "parts": [{"text": {"text": "secret"}}]});
        let sent = admin.ok("SendMessage", sent).await;
        let (run, message, cursor) = (text(&sent, "/run_id"), text(&sent, "/message_id"), text(&sent, "/cursor"));
        let mia = Api::of(mesh).with_token(&person("mia", &["acme"]));
        Self { admin, thread, run, message, cursor, agent, mia, mia_id: UserId::of_subject("dev", "mia").to_string() }
    }

    /// Adds mia, who is no admin.
    async fn add_mia(&self) {
        let member = json!({"idempotency_key": "mia", "user_id": self.mia_id, "role": "ROLE_MEMBER"});
        self.admin.ok("PutMember", member).await;
    }

    /// Every call that names something of the org.
    fn calls(&self) -> Vec<(&'static str, Value)> {
        let Self { thread, run, cursor, agent, mia_id, .. } = self;
        let parts = json!([{"text": {"text": "hello"}}]);
        vec![
            ("GetThread", json!({"thread_id": thread})),
            ("ListMessages", json!({"thread_id": thread})),
            ("UpdateThread", json!({"idempotency_key": "k", "thread_id": thread, "title": "mine"})),
            ("DeleteThread", json!({"idempotency_key": "k", "thread_id": thread})),
            ("CreateThread", json!({"idempotency_key": "k", "agent": agent})),
            ("SendMessage", json!({"idempotency_key": "k", "thread_id": thread, "parts": parts})),
            ("ListQueue", json!({"thread_id": thread})),
            ("GetRun", json!({"run_id": run})),
            ("GetRunHistory", json!({"run_id": run, "include_steps": true})),
            ("CancelRun", json!({"idempotency_key": "k", "run_id": run})),
            ("AttachRun", json!({"run_id": run})),
            ("AttachRun", json!({"run_id": run, "start": {}})),
            ("AttachRun", json!({"run_id": run, "cursor": cursor})),
            ("AttachThread", json!({"thread_id": thread})),
            ("AttachThread", json!({"thread_id": thread, "cursor": cursor})),
            ("GetAgent", json!({"agent": agent})),
            ("UpdateAgent", json!({"idempotency_key": "k", "agent": agent, "spec": {"instructions": "mine"}})),
            ("DeleteAgent", json!({"idempotency_key": "k", "agent": agent})),
            ("RemoveMember", json!({"idempotency_key": "k", "user_id": mia_id})),
        ]
    }

    /// Every call that changes the org of the call itself.
    fn changes() -> [(&'static str, Value); 2] {
        [("UpdateOrg", json!({"idempotency_key": "k", "display_name": "mine"})), ("DeleteOrg", json!({"idempotency_key": "k"}))]
    }

    /// Every list, narrowed to something of the org where it can be.
    fn lists(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("ListThreads", json!({})),
            ("ListThreads", json!({"agent_id": self.agent})),
            ("ListRuns", json!({})),
            ("ListRuns", json!({"thread_id": self.thread})),
            ("ListAgents", json!({})),
            ("ListMembers", json!({})),
            ("ListPendingActions", json!({})),
            ("GetSummary", json!({})),
            ("ListWorkers", json!({})),
            ("GetOrg", json!({})),
            ("ListOrgs", json!({})),
        ]
    }

    /// What no answer to others may hold.
    fn secrets(&self) -> [&str; 6] {
        [&self.thread, &self.run, &self.message, &self.agent, &self.mia_id, "secret"]
    }
}

fn with_key(body: &Value, key: &str) -> Value {
    let mut body = body.clone();
    body["idempotency_key"] = json!(key);
    body
}

fn not_found() -> (Code, String) {
    (Code::NotFound, "NOT_FOUND".to_owned())
}

fn denied() -> (Code, String) {
    (Code::PermissionDenied, "PERMISSION_DENIED".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_one_org_exists_for_another() {
    let mesh = small().without_workers().start().await;
    let acme = Acme::of(&mesh).await;
    acme.add_mia().await;
    let by_header = Api::of(&mesh).with_token(&person("you", &["dev", "acme"])).in_org("dev");
    for dev in [Api::of(&mesh), by_header] {
        for (method, body) in acme.calls() {
            let refused = dev.refused(method, body.clone()).await;
            assert_eq!(why(method, &refused), not_found(), "{method} {body}: {refused:?}");
            assert!(!acme.secrets().iter().any(|secret| refused.message().contains(secret)), "{method}: {refused:?}");
        }
        for (method, body) in acme.lists() {
            let answer = dev.ok(method, body).await.to_string();
            let shown = acme.secrets().into_iter().find(|secret| answer.contains(secret));
            assert_eq!(shown, None, "{method}: {answer}");
        }
        let summary = dev.ok("GetSummary", json!({})).await;
        assert_eq!(summary["queued_count"], 0, "{summary}");
    }

    let thread = acme.admin.ok("GetThread", json!({"thread_id": acme.thread})).await;
    assert_eq!(thread["thread"]["title"], "secret title", "nothing was changed");
    let run = acme.admin.ok("GetRun", json!({"run_id": acme.run})).await;
    assert_eq!((&run["run"]["state"], &run["run"]["cancel_requested"]), (&json!("STATE_READY"), &json!(false)), "{run}");
    let summary = acme.admin.ok("GetSummary", json!({})).await;
    assert_eq!(summary["queued_count"], 1, "the org itself sees its run: {summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_names_the_org_and_a_token_bounds_it() {
    let mesh = small().without_workers().start().await;
    let both = Api::of(&mesh).with_token(&person("you", &["dev", "acme"]));
    for org in ["dev", "acme"] {
        let answer = both.clone().in_org(org).ok("GetOrg", json!({})).await;
        assert_eq!(text(&answer, "/org/name"), org);
        let id = text(&answer, "/org/org_id");
        assert_eq!(text(&both.clone().in_org(&id).ok("GetOrg", json!({})).await, "/org/name"), org, "by its id");
    }
    let none = both.refused("GetOrg", json!({})).await;
    assert_eq!(why("no header, two orgs", &none), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    let others = Api::of(&mesh).with_token(&person("you", &["dev"])).in_org("acme").refused("GetOrg", json!({})).await;
    assert_eq!(why("an org that the token does not name", &others), denied());
    let unshown = Api::of(&mesh).in_org("acme").ok("GetOrg", json!({})).await;
    assert_eq!(text(&unshown, "/org/name"), "acme", "without credentials, any org that you are a member of");
    let unknown = Api::of(&mesh).in_org("nowhere").refused("GetOrg", json!({})).await;
    assert_eq!(why("and no other", &unknown), not_found());
    let any = Api::of(&mesh).with_token(&person("you", &["*"]));
    assert_eq!(text(&any.clone().in_org("acme").ok("GetOrg", json!({})).await, "/org/name"), "acme", "a token for every org");
    assert_eq!(why("of them, others'", &any.clone().in_org("nowhere").refused("GetOrg", json!({})).await), not_found());
    assert_eq!(
        why("and none named", &any.refused("GetOrg", json!({})).await),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    let nowhere = Api::of(&mesh).with_token(&person("you", &["nowhere"])).refused("GetOrg", json!({})).await;
    assert_eq!(why("an org that does not exist", &nowhere), not_found());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_sees_no_org_and_a_member_changes_only_their_own() {
    let mesh = small().without_workers().start().await;
    let acme = Acme::of(&mesh).await;
    assert_eq!(acme.mia.ok("ListOrgs", json!({})).await["memberships"], json!([]));
    let own = acme.lists().into_iter().filter(|(method, _)| *method != "ListOrgs");
    for (method, body) in acme.calls().into_iter().chain(Acme::changes()).chain(own) {
        assert_eq!(why(method, &acme.mia.refused(method, body).await), not_found(), "{method} of a stranger");
    }
    acme.add_mia().await;
    for (method, body) in acme.lists() {
        acme.mia.ok(method, body).await;
    }
    let only_read =
        ["GetThread", "ListMessages", "ListQueue", "GetRun", "GetRunHistory", "AttachRun", "AttachThread", "GetAgent"];
    for (method, body) in acme.calls().into_iter().chain(Acme::changes()) {
        if only_read.contains(&method) {
            acme.mia.ok(method, body).await;
        } else if method != "CreateThread" {
            assert_eq!(why(method, &acme.mia.refused(method, body).await), denied(), "{method} of a member");
        }
    }
    let create = json!({"idempotency_key": "k", "name": "mine", "spec": {}});
    assert_eq!(why("CreateAgent", &acme.mia.refused("CreateAgent", create).await), denied());
    let promote = json!({"idempotency_key": "k", "user_id": acme.mia_id, "role": "ROLE_ADMIN"});
    assert_eq!(why("PutMember", &acme.mia.refused("PutMember", promote).await), denied());

    let own = acme.mia.ok("CreateThread", json!({"idempotency_key": "own"})).await;
    let own = text(&own, "/thread/thread_id");
    acme.mia.ok("UpdateThread", json!({"idempotency_key": "u", "thread_id": own, "title": "hers"})).await;
    let updated = acme.admin.ok("UpdateThread", json!({"idempotency_key": "u", "thread_id": own, "title": "an admin's"})).await;
    assert_eq!(text(&updated, "/thread/title"), "an admin's");

    let listed = acme.mia.ok("ListOrgs", json!({})).await;
    assert_eq!(text(&listed, "/memberships/0/org/name"), "acme", "{listed}");
    assert_eq!(text(&listed, "/memberships/0/member/user_id"), acme.mia_id, "{listed}");
    acme.admin.ok("RemoveMember", json!({"idempotency_key": "gone", "user_id": acme.mia_id})).await;
    let refused = acme.mia.refused("GetThread", json!({"thread_id": own})).await;
    assert_eq!(why("who was removed", &refused), not_found());
    assert_eq!(acme.mia.ok("ListOrgs", json!({})).await["memberships"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_deleted_org_exists_for_anybody() {
    let mesh = small().without_workers().start().await;
    let acme = Acme::of(&mesh).await;
    acme.add_mia().await;
    let delete = json!({"idempotency_key": "d"});
    let open = acme.admin.refused("DeleteOrg", delete.clone()).await;
    assert_eq!(why("a run has not ended", &open), (Code::Aborted, "CONFLICT".to_owned()));
    acme.admin.ok("CancelRun", json!({"idempotency_key": "c", "run_id": acme.run})).await;
    acme.admin.ok("DeleteOrg", delete).await;
    let own = acme.lists().into_iter().filter(|(method, _)| *method != "ListOrgs");
    for (method, body) in acme.calls().into_iter().chain(Acme::changes()).chain(own) {
        for (who, caller) in [("an admin", &acme.admin), ("a member", &acme.mia)] {
            // Under new keys: a repeat of what was done before it went is no concern of anybody else.
            let body = if body.get("idempotency_key").is_some() { with_key(&body, "after") } else { body.clone() };
            assert_eq!(why(method, &caller.refused(method, body).await), not_found(), "{method} of {who}");
        }
    }
    assert_eq!(acme.mia.ok("ListOrgs", json!({})).await["memberships"], json!([]));
    let orgs = acme.admin.ok("ListOrgs", json!({})).await;
    assert_eq!(orgs["memberships"].as_array().map(Vec::len), Some(1), "only dev is left: {orgs}");
    let again = acme.admin.refused("CreateOrg", json!({"idempotency_key": "again", "name": "acme"})).await;
    assert_eq!(why("its name", &again), (Code::AlreadyExists, "NAME_TAKEN".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_admin_stays() {
    let mesh = small().without_workers().start().await;
    let acme = Acme::of(&mesh).await;
    acme.add_mia().await;
    let you = UserId::of_subject("dev", "you").to_string();
    let conflict = (Code::Aborted, "CONFLICT".to_owned());
    let remove = |key: &str| json!({"idempotency_key": key, "user_id": you});
    let demote = |key: &str| json!({"idempotency_key": key, "user_id": you, "role": "ROLE_MEMBER"});
    assert_eq!(why("removed", &acme.admin.refused("RemoveMember", remove("1")).await), conflict);
    assert_eq!(why("demoted", &acme.admin.refused("PutMember", demote("2")).await), conflict);
    acme.admin.ok("PutMember", json!({"idempotency_key": "3", "user_id": acme.mia_id, "role": "ROLE_ADMIN"})).await;
    acme.admin.ok("PutMember", demote("4")).await;
    assert_eq!(why("no admin any more", &acme.admin.refused("RemoveMember", remove("5")).await), denied());
    acme.mia.ok("RemoveMember", remove("6")).await;
    assert_eq!(why("gone", &acme.admin.refused("GetOrg", json!({})).await), not_found());
}
