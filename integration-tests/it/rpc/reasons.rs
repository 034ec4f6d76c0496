//! What each rpc says that it can answer: the lists of reasons in the comments of `proto/`, which the statuses that tests see are
//! held against. Knows nothing of what is right; it only reads.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tonic::Status;
use tonic_types::StatusExt as _;

/// What introduces the reasons of an rpc, in the comment above it.
const OWN: &str = "Errors: ";
/// What introduces those of every rpc, in the comment of the reasons.
const COMMON: &str = "Every rpc can also answer: ";

/// Reasons by method path, those of every rpc included.
static LISTED: LazyLock<HashMap<String, BTreeSet<String>>> = LazyLock::new(|| {
    let texts: Vec<String> = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"))
        .into_iter()
        .map(|file| std::fs::read_to_string(file).expect("a proto file"))
        .collect();
    let common: BTreeSet<String> = texts.iter().filter_map(|text| list(&comments(text), COMMON)).flatten().collect();
    assert!(common.contains("INTERNAL"), "the reasons of every rpc are listed: {common:?}");
    let own = texts.iter().flat_map(|text| rpcs(text));
    own.map(|(path, reasons)| (path, reasons.union(&common).cloned().collect())).collect()
});

/// Fails the test when `status` gives a reason that the comment of `path` does not list.
pub fn check(path: &str, status: &Status) {
    let (Some(listed), Some(info)) = (LISTED.get(path), status.get_details_error_info()) else { return };
    assert!(listed.contains(&info.reason), "{path} answers {}, which its comment does not list: {status:?}", info.reason);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let all = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|extension| extension == "proto")).collect()
}

/// The rpcs of a file, each with the reasons that the comment above it lists.
fn rpcs(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let after = |line: &str, word: &str| {
        let rest = line.trim().strip_prefix(word)?;
        Some(rest.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').next().unwrap_or_default().to_owned())
    };
    let (mut package, mut service, mut above, mut found) = (String::new(), String::new(), String::new(), Vec::new());
    for line in text.lines() {
        if let Some(name) = after(line, "package ") {
            package = name;
        } else if let Some(name) = after(line, "service ") {
            service = name;
        } else if let Some(name) = after(line, "rpc ") {
            let reasons = list(&comments(&above), OWN).unwrap_or_default();
            found.push((format!("/{package}.{service}/{name}"), reasons));
        }
        let is_comment = line.trim().starts_with("//");
        above = if is_comment { format!("{above}{line}\n") } else { String::new() };
    }
    found
}

/// The words of the comments in a text, as one line.
fn comments(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("//"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The names between `introduction` and the next full stop.
fn list(words: &str, introduction: &str) -> Option<BTreeSet<String>> {
    let (_, rest) = words.split_once(introduction)?;
    let (names, _) = rest.split_once('.')?;
    Some(names.split(", ").map(str::to_owned).collect())
}

#[test]
fn every_rpc_lists_reasons_that_there_are() {
    let methods = super::methods();
    for method in &methods {
        let listed = LISTED.get(&method.path).unwrap_or_else(|| panic!("{} is in no file", method.path));
        for reason in listed {
            assert!(runmesh_domain::Reason::from_name(reason).is_some(), "{}: {reason} is no reason", method.path);
        }
        assert!(!method.has_key || listed.contains("IDEMPOTENCY_KEY_REUSED"), "{} has a key", method.path);
        assert!(listed.contains("INVALID_FIELD"), "{} has fields, or is for an org", method.path);
    }
    assert_eq!(LISTED.len(), methods.len());
}

#[test]
fn a_list_may_be_of_several_lines() {
    let text =
        "package a.v1;\nservice S {\n  // Does it.\n  // Errors: A, B,\n  // C_D.\n  rpc Do(DoRequest) returns (DoResponse);\n}";
    let reasons = ["A", "B", "C_D"].map(str::to_owned).into();
    assert_eq!(rpcs(text), [("/a.v1.S/Do".to_owned(), reasons)]);
}

#[test]
#[should_panic(expected = "does not list")]
fn a_reason_that_is_not_listed_is_found() {
    let refused = runmesh_wire::status::of_refusal(&runmesh_domain::Refusal::SessionLost);
    check("/runmesh.org.v1.OrgService/ListOrgs", &refused);
}
