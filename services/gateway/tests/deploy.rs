//! The settings in `deploy/` against the code: a gateway started with them would know every key.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashMap;

use runmesh_gateway::GatewayConfig;
use runmesh_host::config::load_from;
use serde_yaml_ng::Value;

const BASE: &str = include_str!("../../../deploy/kustomize/base/kustomization.yaml");
const EXAMPLE: &str = include_str!("../../../deploy/kustomize/example/kustomization.yaml");
const UNIT: &str = include_str!("../../../deploy/systemd/gateway.env");

/// `NAME=value` as a pair.
fn pair(line: &str) -> (String, String) {
    let (name, value) = line.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

/// The settings of the gateway's generated ConfigMap.
fn config_map(kustomization: &str) -> HashMap<String, String> {
    let document: Value = serde_yaml_ng::from_str(kustomization).unwrap();
    let maps = document["configMapGenerator"].as_sequence().unwrap();
    let map = maps.iter().find(|map| map["name"] == "gateway").unwrap();
    map["literals"].as_sequence().unwrap().iter().map(|literal| pair(literal.as_str().unwrap())).collect()
}

fn load(environment: HashMap<String, String>) -> GatewayConfig {
    let count = environment.keys().filter(|name| name.starts_with("RUNMESH_GATEWAY__")).count();
    assert_eq!(count, environment.len(), "all are the gateway's: {environment:?}");
    load_from("gateway", None, Some(environment)).unwrap()
}

#[test]
fn the_base_is_what_a_gateway_takes() {
    let config = load(config_map(BASE));
    assert_eq!(config.listen, "0.0.0.0:7420");
    assert_eq!(config.orchestrators, ["dns:///run-orchestrator:7431"]);
    assert_eq!(config.relays, ["dns:///stream-relay:7433"]);
    assert!(config.jwt.is_some() && config.mesh_key_file.is_some());
    assert!(!config.dev && !config.reflection);
}

#[test]
fn the_example_changes_settings_that_exist() {
    let mut merged = config_map(BASE);
    merged.extend(config_map(EXAMPLE));
    let config = load(merged);
    assert_eq!(config.jwt.unwrap().issuer, "https://login.example.com");
    assert_eq!(config.server.cors_origins, ["https://app.example.com"]);
}

#[test]
fn the_unit_is_what_a_gateway_takes() {
    let lines = UNIT.lines().filter(|line| !line.starts_with('#'));
    let config = load(lines.map(pair).collect());
    assert_eq!(config.summaries, ["http://127.0.0.1:7434"]);
    assert!(config.jwt.is_some() && !config.dev);
}
