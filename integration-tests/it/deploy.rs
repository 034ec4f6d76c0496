//! The settings in `deploy/` against the code: every service that is started with them knows every key.

use runmesh_host::config::load_from;
use serde::de::DeserializeOwned;
use std::collections::HashMap;

/// The settings of a unit's environment file, loaded as the service would.
fn load<T: DeserializeOwned>(service: &str, unit: &str) -> T {
    let lines = unit.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let pairs: HashMap<String, String> = lines
        .map(|line| line.split_once('=').expect("NAME=value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(!pairs.is_empty(), "{service} has settings");
    let prefix = format!("RUNMESH_{}__", service.replace('-', "_").to_uppercase());
    assert!(pairs.keys().all(|name| name.starts_with(&prefix)), "all are {service}'s: {pairs:?}");
    load_from(service, None, Some(pairs)).unwrap_or_else(|error| panic!("{error}"))
}

/// The settings of `runmesh migrate`, which reads them itself; a made-up database keeps it from going further.
fn migrate(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runmesh"));
    let output = command.arg("migrate").env_clear().envs(settings.iter().copied()).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_migrations_take_what_the_unit_and_the_job_set() {
    let unit = include_str!("../../deploy/systemd/migrate.env");
    let (name, value) = unit.lines().find(|line| !line.starts_with('#')).and_then(|line| line.split_once('=')).expect("a pair");
    assert!(value.starts_with("postgres://"), "{value}");
    assert!(include_str!("../../deploy/kustomize/base/migrate.yaml").contains(&format!("name: {name}\n")), "the job sets {name}");
    let (code, said) = migrate(&[(name, "postgres://nobody@127.0.0.1:9/none")]);
    assert_eq!(code, Some(69), "it was taken, and nobody is there: {said}");
    let (code, said) = migrate(&[]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("no database is named"), "{said}");
}

#[test]
fn every_unit_is_what_its_service_takes() {
    let orchestrator: runmesh_run_orchestrator::Config =
        load("run-orchestrator", include_str!("../../deploy/systemd/run-orchestrator.env"));
    assert!(!orchestrator.relays.is_empty() && !orchestrator.worker.model_url.is_empty() && !orchestrator.orgs.is_empty());
    let relay: runmesh_stream_relay::Config = load("stream-relay", include_str!("../../deploy/systemd/stream-relay.env"));
    assert!(!relay.nats_url.is_empty());
    let approval: runmesh_approval::Config = load("approval", include_str!("../../deploy/systemd/approval.env"));
    assert_eq!(approval.listen, "127.0.0.1:7432");
    let summary: runmesh_summary::Config = load("summary", include_str!("../../deploy/systemd/summary.env"));
    assert_eq!(summary.listen, "127.0.0.1:7434");
}

/// The settings of a service's ConfigMap, as lines.
fn literals(kustomization: &str, service: &str) -> String {
    let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(kustomization).expect("YAML");
    let maps = document["configMapGenerator"].as_sequence().expect("maps").iter();
    let map = maps.into_iter().find(|map| map["name"] == service).unwrap_or_else(|| panic!("{service} has a map"));
    let lines: Vec<&str> = map["literals"].as_sequence().expect("literals").iter().filter_map(|line| line.as_str()).collect();
    lines.join("\n")
}

#[test]
fn the_example_sets_only_what_services_take() {
    let example = include_str!("../../deploy/kustomize/example/kustomization.yaml");
    let orchestrator: runmesh_run_orchestrator::Config = load("run-orchestrator", &literals(example, "run-orchestrator"));
    let relay: runmesh_stream_relay::Config = load("stream-relay", &literals(example, "stream-relay"));
    assert_eq!(orchestrator.bus, relay.bus, "both are to make the same of the streams");
    assert_eq!(relay.bus.replicas.map(runmesh_bus::Replicas::get), Some(3));
    assert_eq!(relay.bus.log_bytes_max.map(runmesh_bus::Size::bytes), Some(64 << 30));
}

/// The settings of every ConfigMap of the base, service by service.
#[test]
fn the_base_sets_only_what_services_take() {
    let base = include_str!("../../deploy/kustomize/base/kustomization.yaml");
    let literals = |service: &str| literals(base, service);
    let _: runmesh_run_orchestrator::Config = load("run-orchestrator", &literals("run-orchestrator"));
    let _: runmesh_stream_relay::Config = load("stream-relay", &literals("stream-relay"));
    let _: runmesh_approval::Config = load("approval", &literals("approval"));
    let _: runmesh_summary::Config = load("summary", &literals("summary"));
}
