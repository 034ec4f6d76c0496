//! The schema and the binaries: who changes it, who only checks it, and what each says about one that does not fit.

use runmesh_testkit::engines;
use runmesh_testkit::mesh::KEY;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_runmesh");
/// The services on Postgres.
const SERVICES: [&str; 4] = ["run-orchestrator", "approval", "stream-relay", "summary"];

fn run(arguments: &[&str], settings: &[(String, String)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().envs(settings.iter().map(|(name, value)| (name, value))).output().expect("it runs")
}

fn settings(service: &str, postgres_url: &str, nats_url: &str) -> Vec<(String, String)> {
    let prefix = format!("RUNMESH_{}__", service.replace('-', "_").to_uppercase());
    let mut all = vec![("POSTGRES_URL", postgres_url), ("MESH_KEY", KEY), ("LISTEN", "127.0.0.1:0")];
    if matches!(service, "run-orchestrator" | "stream-relay") {
        all.push(("NATS_URL", nats_url));
    }
    if service == "run-orchestrator" {
        all.push(("RELAYS", "http://127.0.0.1:9"));
        all.push(("ROLE", "api"));
    }
    all.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_never_migrates_and_says_who_does() {
    let engines = engines::shared().await;
    let url = engines::database(&engines).await;
    for service in SERVICES {
        let output = run(&[service], &settings(service, &url, engines.nats_url()));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{service}: {said}");
        assert!(said.contains("the database has no schema yet") && said.contains("runmesh migrate"), "{service}: {said}");
    }
    let first = run(&["migrate", "--postgres-url", &url], &[]);
    let said = String::from_utf8_lossy(&first.stdout);
    assert!(first.status.success() && said.contains("applied 0001 roles") && said.contains("applied 0013"), "{said}");
    let setting = [("RUNMESH_MIGRATE__POSTGRES_URL".to_owned(), url)];
    let again = run(&["migrate"], &setting);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing was missing"), "{again:?}");
}
