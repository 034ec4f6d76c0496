//! Where files stand and how they begin.

use super::tree::Tree;
use std::collections::BTreeSet;

/// What the top level holds, besides folders and files that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "buf.yaml",
    "clippy.toml",
    "deploy",
    "docs",
    "examples",
    "integration-tests",
    "libs",
    "proto",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "services",
];

/// Entries of the top level that have no place there.
pub(super) fn strays(tree: &Tree) -> Vec<String> {
    let tops: BTreeSet<&str> = tree.files.iter().filter_map(|file| file.path.split('/').next()).collect();
    let strays = tops.into_iter().filter(|top| !top.starts_with('.') && !TOP_LEVEL.contains(top));
    strays.map(|top| format!("{top}:1: has no place at the top level")).collect()
}

/// Modules in files that do not carry their name.
pub(super) fn mod_files(tree: &Tree) -> Vec<String> {
    let wrong = tree.rust().filter(|file| file.path.ends_with("/mod.rs"));
    wrong.map(|file| file.finding(0, "name the file as its module and put it beside the folder")).collect()
}

/// Rust files that do not begin by saying what they are for.
pub(super) fn without_module_doc(tree: &Tree) -> Vec<String> {
    let silent = tree.rust().filter(|file| {
        let first = file.text.lines().next().unwrap_or_default();
        first.strip_prefix("//!").is_none_or(|doc| doc.trim().is_empty())
    });
    silent.map(|file| file.finding(0, "begin with //! and what the file is for")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strays_are_found() {
        let tree = Tree::made_up(&[("libs/x.rs", ""), (".ci/run", ""), ("Makefile", ""), ("crates/y.rs", "")]);
        assert_eq!(strays(&tree), ["Makefile:1: has no place at the top level", "crates:1: has no place at the top level"]);
    }

    #[test]
    fn mod_files_are_found() {
        let tree = Tree::made_up(&[("libs/x/src/a/mod.rs", "//! A."), ("libs/x/src/a.rs", "//! A.")]);
        assert_eq!(mod_files(&tree).len(), 1);
    }

    #[test]
    fn silent_files_are_found() {
        let tree =
            Tree::made_up(&[("a.rs", "//! Says.\n"), ("b.rs", "// No.\n"), ("c.rs", "//!\n//! Late.\n"), ("build.rs", "")]);
        assert_eq!(without_module_doc(&tree).len(), 3);
    }
}
