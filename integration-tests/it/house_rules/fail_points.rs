//! Fail points: every one in the code is one that a test dies at, and none is in what ships.

use super::tree::{File, Tree, root};
use crate::fail_points::table;
use std::collections::BTreeSet;
use std::process::Command;

/// The feature that compiles them in.
const FEATURE: &str = "fail-points";

/// Commands of the code that no table of the tests of fail points has, and the other way round.
pub(super) fn unlisted(tree: &Tree) -> Vec<String> {
    let cases: Vec<&str> = table::cases().iter().map(|case| case.operation).filter(|name| *name != "Publish").collect();
    let mutations = table::MUTATIONS.iter().map(|(_, command)| *command);
    let apart = table::APART.iter().map(|(command, _)| *command);
    let others = table::LOOKS.iter().chain(table::AROUND).copied();
    let listed: BTreeSet<&str> = cases.into_iter().chain(mutations).chain(apart).chain(others).collect();
    compare(&commands(tree), &listed, "a row of integration-tests/it/fail_points/table.rs")
}

/// Points in the publishing that no test dies at, and the other way round.
pub(super) fn unlisted_points(tree: &Tree) -> Vec<String> {
    let listed: BTreeSet<&str> =
        table::cases().iter().filter(|case| case.operation == "Publish").map(|case| case.point).collect();
    compare(&points(tree), &listed, "a case of integration-tests/it/fail_points/table.rs")
}

/// Files with transactions that have no name, beyond those of the table, and the other way round.
pub(super) fn unlisted_closures(tree: &Tree) -> Vec<String> {
    let listed: BTreeSet<&str> = table::CLOSURES.iter().map(|(file, _)| *file).collect();
    compare(&closures(tree), &listed, "a row of integration-tests/it/fail_points/table.rs for its closures: make them commands")
}

fn compare(found: &[(String, String)], listed: &BTreeSet<&str>, what: &str) -> Vec<String> {
    let new = found.iter().filter(|(name, _)| !listed.contains(name.as_str()));
    let known: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let gone = listed.iter().filter(|name| !known.contains(*name));
    let new = new.map(|(name, finding)| format!("{finding}: {name} has not got {what}"));
    new.chain(gone.map(|name| format!("{name} has {what} and is not in the code"))).collect()
}

/// The types that are commands, with their places.
fn commands(tree: &Tree) -> Vec<(String, String)> {
    each_production_line(tree, |line| {
        let rest = line.trim_start().strip_prefix("impl")?;
        let (before, name) = rest.split_once("Command for ")?;
        // Of the domain's own commands there are no implementations; a generic one may stand before the name of the trait.
        let is_trait = before.is_empty() || before.ends_with([' ', '>', ':']);
        is_trait.then(|| name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned())
    })
}

/// The fail points that are named in place.
fn points(tree: &Tree) -> Vec<(String, String)> {
    each_production_line(tree, |line| {
        let (_, rest) = line.split_once("fail_point::reach(\"Publish\", \"")?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    })
}

/// The files in which a transaction is a closure.
fn closures(tree: &Tree) -> Vec<(String, String)> {
    let with = |file: &&File| [".tx(", ".background_tx(", "db.beat("].iter().any(|call| file.production_code().contains(call));
    let files = tree.rust().filter(|file| file.is_production()).filter(with);
    files.map(|file| (file.path.clone(), format!("{}:1", file.path))).collect()
}

/// What `read` finds in the lines of production code, each with its place.
fn each_production_line(tree: &Tree, read: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let in_file = |file: &File| -> Vec<(String, String)> {
        let lines = file.text.lines().enumerate();
        lines.filter_map(|(index, line)| Some((read(line)?, format!("{}:{}", file.path, index + 1)))).collect()
    };
    tree.rust().filter(|file| file.is_production()).flat_map(in_file).collect()
}

/// Crates of ours that `cargo` builds with fail points: with `edges` of dependencies for the binary, or for tests.
pub(super) fn built_with(edges: &str) -> Vec<String> {
    let arguments =
        ["tree", "--offline", "--locked", "--package", "runmesh", "--prefix", "none", "--format", "{p} [{f}]", "--edges", edges];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("cargo tree: {error}"));
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("runmesh-store"), "cargo tree lacks what is known to be there: {text}");
    let with = text.lines().filter(|line| line.rsplit_once(" [").is_some_and(|(_, features)| features.contains(FEATURE)));
    let names: BTreeSet<&str> = with.filter_map(|line| line.split(' ').next()).collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_command_and_a_new_point_are_found() {
        let text = "//! A.\nimpl Command for Brandnew {\n}\nimpl<C: Command> Command for Around<C> {\n}\nfn f() {\n    fail_point::reach(\"Publish\", \"nowhere\");\n}\n";
        let tree = Tree::made_up(&[("libs/x/src/a.rs", text), ("libs/x/tests/a.rs", "//! B.\nimpl Command for OfTests {}\n")]);
        let names: Vec<_> = commands(&tree).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Brandnew", "Around"]);
        let found = unlisted(&tree);
        assert_eq!(found[0], "libs/x/src/a.rs:2: Brandnew has not got a row of integration-tests/it/fail_points/table.rs");
        assert!(found.iter().any(|line| line.starts_with("FinishRun has") && line.ends_with("is not in the code")), "{found:?}");
        assert!(unlisted_points(&tree)[0].contains("a.rs:7: nowhere has not got a case"));
        let found = unlisted_closures(&Tree::made_up(&[("libs/x/src/a.rs", "//! A.\nfn f() { db.tx(scope, |tx| g(tx)); }\n")]));
        assert!(found[0].starts_with("libs/x/src/a.rs:1: "), "{found:?}");
    }
}
