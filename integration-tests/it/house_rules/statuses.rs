//! A caller decides by the reason of a status, so every status that leaves runmesh is made where reasons are given.

use super::source;
use super::tree::{File, Tree};

/// Functions of `tonic::Status` that make one.
const MAKERS: &[&str] = &[
    "new",
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
    "from_error",
    "with_details",
    "with_metadata",
    "with_details_and_metadata",
    "with_error_details",
    "with_error_details_vec",
];

/// Who may not make any: services, and libraries that know reasons. The host knows none; wire names the reasons of what it makes.
const BOUND: &[&str] = &["services/", "libs/bus/", "libs/store/", "libs/agent/", "libs/client/"];

/// Statuses made where no reason is given.
pub(super) fn elsewhere(tree: &Tree) -> Vec<String> {
    let mut all: Vec<String> = tree.rust().filter(|file| is_bound(file)).flat_map(makers).collect();
    all.extend(tree.rust().filter(|file| file.is_production()).flat_map(details));
    all
}

fn is_bound(file: &File) -> bool {
    file.is_production() && BOUND.iter().any(|folder| file.path.starts_with(folder))
}

fn makers(file: &File) -> Vec<String> {
    let code = file.production_code();
    let made = MAKERS.iter().map(|maker| format!("Status::{maker}")).flat_map(|call| {
        let places = source::words(&code, &call).into_iter().filter(|at| code.as_bytes().get(at + call.len()) == Some(&b'('));
        places
            .map(|at| file.finding(at, &format!("`{call}`: answer an error of the domain; wire makes its status")))
            .collect::<Vec<_>>()
    });
    made.collect()
}

/// Details belong to the reason: whoever else sets them gives a status two or none.
fn details(file: &File) -> Vec<String> {
    if file.path == "libs/wire/src/status.rs"
        || matches!(file.path.as_str(), "libs/host/src/status.rs" | "libs/host/src/server/guard.rs")
    {
        return Vec::new();
    }
    let code = file.production_code();
    let setters = ["with_error_details", "with_error_details_vec", "set_error_info", "with_details_and_metadata"];
    let places = setters.iter().flat_map(|setter| source::words(&code, setter));
    places.map(|at| file.finding(at, "sets details of a status; only libs/wire/src/status.rs does")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_found() {
        let text = "//! X.\nfn a() { Status::invalid_argument(\"no\") }\nfn b() { StatusCode::ok(1); pb::Status::Ok }\n\
                    #[cfg(test)]\nmod tests { fn c() { Status::internal(\"x\") } }\n";
        let found = elsewhere(&Tree::made_up(&[
            ("services/x/src/a.rs", text),
            ("libs/wire/src/status.rs", text),
            ("libs/bus/tests/a.rs", text),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|line| line.starts_with("services/x/src/a.rs:2: ")), "{found:?}");
    }

    #[test]
    fn details_are_found() {
        let text = "//! X.\nfn a() { Status::with_error_details(code, \"x\", details) }\n";
        let found = elsewhere(&Tree::made_up(&[("libs/host/src/a.rs", text), ("libs/host/src/status.rs", text)]));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
