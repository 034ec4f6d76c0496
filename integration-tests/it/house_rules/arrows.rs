//! Who may depend on whom, read from `cargo metadata`. Knows nothing of what stands in the files.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Dependencies of ours that each crate may have, by their names without `runmesh-`. A crate that is not here may have none.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wire", &["domain"]),
    ("client", &["domain", "wire"]),
    ("agent", &["domain", "wire"]),
    ("bus", &["domain", "wire"]),
    ("store", &["domain"]),
    ("command", &["domain", "wire", "bus", "store"]),
    ("host", &[]),
    ("engines", &[]),
    ("mock-model", &[]),
    ("gateway", &["domain", "wire", "host"]),
    ("stream-relay", &["domain", "wire", "bus", "store", "host"]),
    ("run-orchestrator", &["domain", "wire", "bus", "store", "command", "agent", "host"]),
    ("approval", &["domain", "wire", "bus", "store", "command", "host"]),
    ("summary", &["domain", "wire", "bus", "store", "command", "host"]),
    // The checkers of histories speak the vocabulary of domain and the messages of wire.
    (
        "testkit",
        &[
            "domain",
            "wire",
            "engines",
            "mock-model",
            "client",
            "gateway",
            "stream-relay",
            "run-orchestrator",
            "approval",
            "summary",
        ],
    ),
    // The composition root: everything except testkit.
    (
        "runmesh",
        &[
            "domain",
            "wire",
            "bus",
            "store",
            "agent",
            "client",
            "host",
            "engines",
            "mock-model",
            "gateway",
            "run-orchestrator",
            "approval",
            "stream-relay",
            "summary",
        ],
    ),
];

/// What tests of any crate may use besides.
const FOR_TESTS: &[&str] = &["testkit", "engines", "mock-model"];

/// Libraries that one crate of ours names and no other, in code, tests or build.
const OWNED: &[(&str, &str)] =
    &[("sqlx", "store"), ("async-nats", "bus"), ("prost-build", "wire"), ("tonic-prost-build", "wire"), ("protox", "wire")];

/// One dependency of a crate of ours.
pub(super) struct Arrow {
    from: String,
    to: String,
    kind: String,
}

/// Every dependency of every crate of the workspace.
pub(super) fn workspace() -> Vec<Arrow> {
    let root = super::tree::root();
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root).output();
    let output = output.unwrap_or_else(|error| panic!("cargo metadata: {error}"));
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("cargo metadata: {error}"));
    let arrows = arrows(&metadata);
    assert!(
        arrows.iter().any(|arrow| arrow.from == "wire" && arrow.to == "domain"),
        "the metadata lacks what is known to be there"
    );
    arrows
}

fn arrows(metadata: &Value) -> Vec<Arrow> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for package in list(metadata, "packages") {
        for dependency in list(&package, "dependencies") {
            let kind = text(&dependency, "kind");
            all.push(Arrow { from: text(&package, "name"), to: text(&dependency, "name"), kind });
        }
    }
    all
}

/// A text field; names of ours without their prefix.
fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    text.strip_prefix("runmesh-").unwrap_or(text).to_owned()
}

/// Arrows between crates of ours that nobody drew.
pub(super) fn wrong(arrows: &[Arrow]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let is_ours = |name: &str| allowed.contains_key(name);
    let is_drawn = |arrow: &Arrow| {
        let for_tests = arrow.kind == "dev" && FOR_TESTS.contains(&arrow.to.as_str());
        for_tests || allowed.get(arrow.from.as_str()).is_some_and(|drawn| drawn.contains(&arrow.to.as_str()))
    };
    let ours = arrows.iter().filter(|arrow| is_ours(&arrow.to) && arrow.from != arrow.to);
    ours.filter(|arrow| !is_drawn(arrow)).map(|arrow| format!("{} must not depend on {}", place(arrow), arrow.to)).collect()
}

/// Libraries named by a crate that does not own them.
pub(super) fn strangers(arrows: &[Arrow]) -> Vec<String> {
    let owner = |name: &str| OWNED.iter().find(|(library, _)| *library == name).map(|(_, owner)| *owner);
    let named = arrows.iter().filter_map(|arrow| owner(&arrow.to).map(|owner| (arrow, owner)));
    let wrong = named.filter(|(arrow, owner)| arrow.from != *owner);
    wrong.map(|(arrow, owner)| format!("{} names {}, which is {owner}'s alone", place(arrow), arrow.to)).collect()
}

fn place(arrow: &Arrow) -> String {
    let kind = if arrow.kind.is_empty() { String::new() } else { format!(" ({})", arrow.kind) };
    format!("{}/Cargo.toml{kind}:", arrow.from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, kind: &str) -> Arrow {
        Arrow { from: from.to_owned(), to: to.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn a_stray_arrow_is_found() {
        let found = wrong(&[
            arrow("gateway", "store", ""),
            arrow("summary", "approval", "dev"),
            arrow("runmesh", "testkit", ""),
            arrow("newcomer", "domain", ""),
            arrow("domain", "serde", ""),
            arrow("gateway", "wire", ""),
            arrow("bus", "engines", "dev"),
        ]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("gateway/Cargo.toml:")), "{found:?}");
    }

    #[test]
    fn a_second_owner_is_found() {
        let found =
            strangers(&[arrow("summary", "sqlx", "dev"), arrow("store", "sqlx", ""), arrow("gateway", "protox", "build")]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn metadata_is_read() {
        let metadata = serde_json::json!({"packages": [
            {"name": "runmesh-bus", "dependencies": [{"name": "runmesh-store", "kind": null}, {"name": "sqlx", "kind": "build"}]},
        ]});
        let all = arrows(&metadata);
        assert_eq!(wrong(&all), ["bus/Cargo.toml: must not depend on store"]);
        assert_eq!(strangers(&all).len(), 1);
    }
}
