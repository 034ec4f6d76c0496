//! The examples in other languages, run as their readers run them: against a mesh, with what their own READMEs install.

pub(crate) mod program;
mod python;
mod typescript;

use runmesh_testkit::mesh::Mesh;
use std::path::PathBuf;

/// A folder of the checkout.
fn folder(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name).canonicalize().expect("a folder of the checkout")
}

/// The gateway as `host:port`.
pub(crate) fn authority(mesh: &Mesh) -> String {
    mesh.gateway_url(0).trim_start_matches("http://").to_owned()
}

/// The numbered chunks of the mock model, each once and in order, although the example hung up in between.
fn assert_chatted(ended: &program::Ended, chunks: usize) {
    ended.assert_code(0);
    let seen: Vec<&str> = ended.out.split_whitespace().filter(|word| word.starts_with("chunk-")).collect();
    let wanted: Vec<String> = (0..chunks).map(|number| format!("chunk-{number}")).collect();
    assert_eq!(seen, wanted, "{}{}", ended.out, ended.err);
    let returns = ended.err.split("returns=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let returns: usize = returns.and_then(|number| number.parse().ok()).expect("the example says how often it came back");
    assert!(returns >= 2, "the example hung up and came back: {}", ended.err);
}
