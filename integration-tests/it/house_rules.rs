//! The house rules, as programs: who may depend on whom, what no file may hold, how long a function may be.
//!
//! Each rule says what it found as `file:line: what is wrong`. It reads the tree as it stands, builds nothing and starts
//! nothing. Each checker is itself tested on a small tree that breaks its rule.

mod arrows;
mod dependencies;
mod fail_points;
mod layout;
mod migrations;
mod purity;
mod size;
mod source;
mod statuses;
mod tree;
mod words;

use tree::Tree;

/// Fails with every finding of a rule.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn crates_depend_along_the_arrows() {
    assert_none("crates depend on each other only as ARCHITECTURE.md draws it", &arrows::wrong(&arrows::workspace()));
}

#[test]
fn each_engine_is_named_by_one_crate() {
    assert_none("one crate each names Postgres, NATS and the protobuf compiler", &arrows::strangers(&arrows::workspace()));
}

#[test]
fn every_command_has_its_fail_points_tested() {
    let tree = Tree::read();
    assert_none(
        "a process dies on both sides of each command's COMMIT, or the table says why not",
        &fail_points::unlisted(&tree),
    );
    assert_none("a process dies at each place in the publishing", &fail_points::unlisted_points(&tree));
    assert_none("a transaction that changes something is a command", &fail_points::unlisted_closures(&tree));
}

#[test]
fn nothing_that_ships_has_fail_points() {
    assert_none("what `cargo build` builds cannot be killed by a variable", &fail_points::built_with("no-dev"));
    assert!(!fail_points::built_with("all").is_empty(), "what `cargo test` builds can");
}

#[test]
fn every_dependency_has_a_reason() {
    assert_none(
        "every dependency stands once, in the root's table, with its reason",
        &dependencies::without_reason(&Tree::read()),
    );
}

#[test]
fn the_domain_is_pure() {
    assert_none("libs/domain knows no runtime, wire, database, clock or chance", &purity::broken(&Tree::read()));
}

#[test]
fn one_file_makes_statuses() {
    assert_none("libs/wire/src/status.rs makes every status that says why", &statuses::elsewhere(&Tree::read()));
}

#[test]
fn the_top_level_is_fixed() {
    assert_none("the top level holds what ARCHITECTURE.md says", &layout::strays(&Tree::read()));
}

#[test]
fn modules_are_files_of_their_name() {
    assert_none("a module is foo.rs beside foo/", &layout::mod_files(&Tree::read()));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none("every Rust file begins with //!", &layout::without_module_doc(&Tree::read()));
}

#[test]
fn nothing_is_left_for_later() {
    assert_none("no promises, no stubs", &words::left_for_later(&Tree::read()));
}

#[test]
fn no_lint_and_no_test_is_switched_off() {
    assert_none("expect with a reason is the only way past a lint, and a test runs or goes", &words::switched_off(&Tree::read()));
}

#[test]
fn migrations_run_beside_an_older_version() {
    assert_none("migrations follow libs/store/migrations/README.md", &migrations::unsafe_ones(&Tree::read()));
}

#[test]
fn no_file_names_a_machine() {
    assert_none("no registry host and no path of one machine", &words::machines(&Tree::read()));
}

#[test]
fn no_function_is_long() {
    assert_none("a function of production code has at most 70 lines", &size::long_functions(&Tree::read()));
}
