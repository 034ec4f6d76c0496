//! `docs/errors.md` against the code: every reason once, in order, with its code and something to do.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use runmesh_domain::Reason;
use runmesh_wire::status;

const ERRORS: &str = include_str!("../../../docs/errors.md");

/// The cells of each row of the table, without its head.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = ERRORS.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_reason_is_told_with_its_code() {
    let told: Vec<_> = rows().iter().map(|cells| (cells[0].trim_matches('`'), cells[1].trim_matches('`'))).collect();
    let meant: Vec<_> =
        Reason::ALL.iter().map(|reason| (reason.name(), runmesh_host::status::name(status::code(*reason)))).collect();
    assert_eq!(told, meant);
}

#[test]
fn every_reason_says_what_it_means_and_what_to_do() {
    for cells in rows() {
        let [reason, _, meaning, advice] = cells.try_into().unwrap();
        assert!(meaning.len() > 15 && advice.len() > 15, "{reason}");
    }
}
