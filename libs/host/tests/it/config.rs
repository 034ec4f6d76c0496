//! Configuration: file, environment over it, and keys nobody knows.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use runmesh_host::config::{ConfigError, load_from};
use runmesh_host::server::ServerConfig;
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    listen: String,
    #[serde(default, deserialize_with = "runmesh_host::config::list::deserialize")]
    upstreams: Vec<String>,
    #[serde(default)]
    server: ServerConfig,
}

fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn env(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

const TOML: &str = r#"
[run-orchestrator]
listen = "127.0.0.1:1"
upstreams = ["http://a:1", "http://b:2"]
server.max_calls = 7
server.drain_delay = "250ms"
server.max_connection_age = "none"

[gateway]
anything = "is its own business"
"#;

#[test]
fn a_section_of_the_file_and_the_environment_over_it() {
    let (_folder, path) = file("mesh.toml", TOML);
    let service: Service = load_from("run-orchestrator", Some(&path), env(&[])).unwrap();
    assert_eq!((service.listen.as_str(), service.upstreams.len(), service.server.max_calls), ("127.0.0.1:1", 2, 7));
    assert_eq!((service.server.drain_delay, service.server.max_connection_age), (Duration::from_millis(250), None));

    let environment = env(&[
        ("RUNMESH_RUN_ORCHESTRATOR__LISTEN", "0.0.0.0:2"),
        ("RUNMESH_RUN_ORCHESTRATOR__UPSTREAMS", "http://c:3, http://d:4"),
        ("RUNMESH_RUN_ORCHESTRATOR__SERVER__MAX_CALLS", "9"),
        ("RUNMESH_GATEWAY__LISTEN", "not for us"),
        ("PATH", "not for us"),
    ]);
    let service: Service = load_from("run-orchestrator", Some(&path), environment).unwrap();
    assert_eq!((service.listen.as_str(), service.server.max_calls), ("0.0.0.0:2", 9));
    assert_eq!(service.upstreams, ["http://c:3", "http://d:4"]);
    assert_eq!(service.server.drain_delay, Duration::from_millis(250), "what the environment does not say stays");
}

#[test]
fn yaml_is_read_too() {
    let (_folder, path) = file("mesh.yaml", "gateway:\n  listen: '127.0.0.1:3'\n");
    let service: Service = load_from("gateway", Some(&path), env(&[])).unwrap();
    assert_eq!(service.listen, "127.0.0.1:3");
}

#[test]
fn an_unknown_key_is_named() {
    let (_folder, path) = file("mesh.toml", "[gateway]\nlisten = \"x\"\nserver.max_cals = 1\n");
    let from_file = load_from::<Service>("gateway", Some(&path), env(&[])).unwrap_err().to_string();
    assert!(from_file.contains("max_cals") && from_file.contains("gateway"), "{from_file}");

    let environment = env(&[("RUNMESH_GATEWAY__LISTEN", "x"), ("RUNMESH_GATEWAY__LISTNE", "y")]);
    let from_env = load_from::<Service>("gateway", None, environment).unwrap_err().to_string();
    assert!(from_env.contains("listne"), "{from_env}");
}

#[test]
fn a_missing_key_a_bad_value_and_a_missing_file_are_named() {
    let missing = load_from::<Service>("gateway", None, env(&[])).unwrap_err().to_string();
    assert!(missing.contains("listen"), "{missing}");
    let environment = env(&[("RUNMESH_GATEWAY__LISTEN", "x"), ("RUNMESH_GATEWAY__SERVER__DRAIN_DELAY", "soon")]);
    let bad = load_from::<Service>("gateway", None, environment).unwrap_err().to_string();
    assert!(bad.contains("soon") && bad.contains("250ms"), "{bad}");
    let none = load_from::<Service>("gateway", Some(&PathBuf::from("/nowhere.toml")), env(&[])).unwrap_err();
    assert!(matches!(none, ConfigError::File { .. }) && none.to_string().contains("/nowhere.toml"));
}
