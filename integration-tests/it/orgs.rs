//! Orgs that people make: who may, what is in them, how their limits count, and the command line for all of it.

use crate::harness::small;
use crate::rpc::{Api, person, why};
use runmesh_testkit::mesh::{Kind, Mesh};
use runmesh_testkit::until;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(30);

fn create(name: &str) -> Value {
    json!({"idempotency_key": format!("create {name}").replace(' ', "-"), "name": name})
}

fn names(listed: &Value) -> Vec<String> {
    let places = listed["memberships"].as_array().into_iter().flatten();
    places.map(|place| place["org"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_settings_name_makes_orgs_and_is_their_admin() {
    let mesh = small().start().await;
    let mia = Api::of(&mesh).with_token(&person("mia", &["*"]));
    let refused = mia.refused("CreateOrg", create("hers")).await;
    assert_eq!(why("whom the settings do not name", &refused), (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()));
    assert!(refused.message().contains("org_creators"), "it says which setting: {refused:?}");

    let you = Api::of(&mesh);
    let made = you.ok("CreateOrg", json!({"idempotency_key": "k", "name": "fresh", "display_name": "Fresh Inc."})).await;
    assert_eq!((&made["org"]["name"], &made["org"]["display_name"]), (&json!("fresh"), &json!("Fresh Inc.")), "{made}");
    assert_eq!(made["member"]["role"], "ROLE_ADMIN", "{made}");
    // Whichever org is asked for plays no part.
    you.clone().in_org("nowhere").ok("CreateOrg", create("another")).await;
    assert_eq!(names(&you.clone().in_org("nowhere").ok("ListOrgs", json!({})).await), ["acme", "another", "dev", "fresh"]);
    let first = you.ok("ListOrgs", json!({"page_size": 3})).await;
    assert_eq!(names(&first), ["acme", "another", "dev"]);
    let rest = you.ok("ListOrgs", json!({"page_size": 3, "page_token": first["next_page_token"]})).await;
    assert_eq!((names(&rest), &rest["next_page_token"]), (vec!["fresh".to_owned()], &json!("")));
    let bounded = Api::of(&mesh).with_token(&person("you", &["fresh", "dev", "nowhere"]));
    assert_eq!(names(&bounded.ok("ListOrgs", json!({})).await), ["dev", "fresh"], "a token shows no more than it is good for");
    assert_eq!(names(&mia.ok("ListOrgs", json!({})).await), Vec::<String>::new());

    // It has an agent to talk to, and workers serve it.
    let fresh = you.in_org("fresh");
    let thread = fresh.ok("CreateThread", json!({"idempotency_key": "t"})).await;
    let parts = json!([{"text": {"text": "many:1"}}]);
    let send = json!({"idempotency_key": "s", "thread_id": thread["thread"]["thread_id"], "parts": parts});
    let run = json!({"run_id": fresh.ok("SendMessage", send).await["run_id"]});
    until("the run has completed", PATIENCE, || {
        let (fresh, run) = (fresh.clone(), run.clone());
        async move { (fresh.ok("GetRun", run).await["run"]["state"] == "STATE_COMPLETED").then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_may_make_orgs_where_the_settings_say_so() {
    let mesh = small().without_workers().set(Kind::Orchestrator, "ORG_CREATORS", "*").start().await;
    let mia = Api::of(&mesh).with_token(&person("mia", &["hers"]));
    mia.ok("CreateOrg", create("hers")).await;
    assert_eq!(mia.ok("GetOrg", json!({})).await["member"]["role"], "ROLE_ADMIN");
    let theirs = mia.refused("CreateOrg", create("acme")).await;
    assert_eq!(why("others' name", &theirs), (Code::AlreadyExists, "NAME_TAKEN".to_owned()));
}

/// How many runs of an org are in these states.
async fn count(api: &Api, states: &[&str]) -> usize {
    let runs = api.ok("ListRuns", json!({"states": states})).await;
    runs["runs"].as_array().map_or(0, Vec::len)
}

async fn start_slow(api: &Api, many: usize) {
    for n in 0..many {
        let thread = api.ok("CreateThread", json!({"idempotency_key": format!("t{n}")})).await;
        let parts = json!([{"text": {"text": "slow:600x100"}}]);
        let thread = &thread["thread"]["thread_id"];
        api.ok("SendMessage", json!({"idempotency_key": format!("s{n}"), "thread_id": thread, "parts": parts})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orgs_own_limits_count() {
    let mesh = small().start().await;
    let api = Api::of(&mesh).in_org("acme");
    let limit = |key: &str, limits: Value| json!({"idempotency_key": key, "limits": limits});
    let updated = api.ok("UpdateOrg", limit("1", json!({"running_per_user_max": 1}))).await;
    assert_eq!(updated["org"]["limits"], json!({"running_per_user_max": 1}), "{updated}");
    start_slow(&api, 4).await;
    let running = |wanted: usize| {
        let api = api.clone();
        until("as many run as may", PATIENCE, move || {
            let api = api.clone();
            async move { (count(&api, &["STATE_RUNNING"]).await == wanted).then_some(()) }
        })
    };
    running(1).await;
    assert_eq!(count(&api, &["STATE_READY"]).await, 3, "one less than the mesh's two");
    api.ok("UpdateOrg", limit("3", json!({"running_per_user_max": 3}))).await;
    running(3).await;
    assert_eq!(count(&api, &["STATE_READY"]).await, 1, "one more than the mesh's two");
    // What an org's display name is changed to leaves its limits alone.
    let named = api.ok("UpdateOrg", json!({"idempotency_key": "n", "display_name": "Acme"})).await;
    assert_eq!(named["org"]["limits"], json!({"running_per_user_max": 3}), "{named}");
    let cleared = api.ok("UpdateOrg", limit("4", json!({}))).await;
    assert_eq!((&cleared["org"]["limits"], &cleared["org"]["display_name"]), (&json!({}), &json!("Acme")), "{cleared}");
    let got = api.ok("GetOrg", json!({})).await;
    assert_eq!(got["org"], cleared["org"]);
}

/// The command line against a mesh: its exit code, and what it printed as JSON.
fn runmesh(mesh: &Mesh, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runmesh"));
    let output = command.args(["--json", "--address", &mesh.gateway_url(0)]).args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_looks_after_orgs_and_members() {
    let mesh = small().without_workers().start().await;
    let ok = |arguments: &[&str]| {
        let (code, said) = runmesh(&mesh, arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    };
    let made = ok(&["orgs", "create", "fresh", "--display-name", "Fresh Inc."]);
    assert_eq!((&made["outcome"], &made["org"]["display_name"]), (&json!("created"), &json!("Fresh Inc.")), "{made}");
    assert_eq!(names(&ok(&["orgs"])), ["acme", "dev", "fresh"]);
    let updated = ok(&["orgs", "update", "fresh", "--user-limit", "7"]);
    assert_eq!(updated["org"]["limits"], json!({"running_per_user_max": 7}), "{updated}");
    let updated = ok(&["--org", "fresh", "orgs", "update", "--org-limit", "9", "--display-name", "Fresh"]);
    assert_eq!(updated["org"]["limits"], json!({"running_per_user_max": 7, "running_per_org_max": 9}), "{updated}");
    let updated = ok(&["orgs", "update", "fresh", "--user-limit", "default"]);
    assert_eq!(updated["org"]["limits"], json!({"running_per_org_max": 9}), "{updated}");
    assert_eq!(updated["org"]["display_name"], "Fresh", "{updated}");

    let mia = "usr_00000000000000000000000000000001";
    let put = ok(&["--org", "fresh", "members", "put", mia, "--role", "admin"]);
    assert_eq!((&put["user_id"], &put["role"]), (&json!(mia), &json!("ROLE_ADMIN")), "{put}");
    assert_eq!(ok(&["--org", "fresh", "members"])["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(ok(&["--org", "fresh", "members", "remove", mia])["outcome"], "removed");

    assert_eq!(ok(&["orgs", "delete", "fresh"]), json!({"outcome": "deleted", "name": "fresh"}));
    assert_eq!(names(&ok(&["orgs", "list"])), ["acme", "dev"]);
    assert_eq!(runmesh(&mesh, &["orgs", "delete", "fresh"]).0, 1);
    assert_eq!(runmesh(&mesh, &["orgs", "create", "fresh"]).0, 1, "its name stays taken");
}
