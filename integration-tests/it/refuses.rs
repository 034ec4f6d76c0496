//! Bad input: the exact code, exactly one ErrorInfo, and the field where one is at fault. Each table is data that names its
//! methods, so that one test can tell that no rpc is missing.

mod agent;
mod approval;
mod bytes;
mod holder;
mod org;
mod run;
mod stream;
mod summary;
mod thread;
mod worker;

use crate::rpc::{Api, methods, why};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What a case must answer.
#[derive(Clone, Copy)]
struct Want {
    code: Code,
    reason: &'static str,
    /// The field named in BadRequest, when one is.
    field: &'static str,
}

const fn invalid(field: &'static str) -> Want {
    Want { code: Code::InvalidArgument, reason: "INVALID_FIELD", field }
}

const fn no(code: Code, reason: &'static str) -> Want {
    Want { code, reason, field: "" }
}

const NOT_FOUND: Want = no(Code::NotFound, "NOT_FOUND");
const TOKEN_MISMATCH: Want = no(Code::PermissionDenied, "TOKEN_MISMATCH");
const STEP_CONFLICT: Want = no(Code::Aborted, "STEP_CONFLICT");
const FENCED: Want = no(Code::Aborted, "FENCED");
const RUN_FINISHED: Want = no(Code::FailedPrecondition, "RUN_FINISHED");

/// One row of a table.
struct Case {
    method: &'static str,
    what: &'static str,
    body: Value,
    want: Want,
}

fn case(method: &'static str, what: &'static str, body: Value, want: Want) -> Case {
    Case { method, what, body, want }
}

/// What there is in the mesh that a table is tried on. Empty texts when a table is only read.
#[derive(Default)]
struct Known {
    thread: String,
    run: String,
    /// A cursor of another run.
    other_cursor: String,
    fence: i64,
}

const UNKNOWN_THREAD: &str = "thr_00000000000000000000000000000001";
const UNKNOWN_RUN: &str = "run_00000000000000000000000000000001";
const UNKNOWN_AGENT: &str = "agt_00000000000000000000000000000001";
const UNKNOWN_USER: &str = "usr_00000000000000000000000000000001";
const UNKNOWN_SESSION: &str = "ses_00000000000000000000000000000001";

/// `body` with one field changed.
fn but(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

/// The rows that every method with an idempotency key has.
fn keys(method: &'static str, good: &Value) -> Vec<Case> {
    let want = invalid("idempotency_key");
    vec![
        case(method, "no key", but(good, "idempotency_key", json!("")), want),
        case(method, "a key with a space", but(good, "idempotency_key", json!("a b")), want),
        case(method, "a key of another alphabet", but(good, "idempotency_key", json!("ключ")), want),
        case(method, "a long key", but(good, "idempotency_key", json!("k".repeat(129))), want),
    ]
}

/// The rows that every list has.
fn pages(method: &'static str, good: &Value) -> Vec<Case> {
    vec![
        case(method, "a negative page", but(good, "page_size", json!(-1)), invalid("page_size")),
        case(method, "no page token", but(good, "page_token", json!("nonsense")), invalid("page_token")),
        case(method, "a page token of nothing", but(good, "page_token", json!("bnVsbA")), invalid("page_token")),
    ]
}

/// The rows that every method has that takes an id.
fn ids(method: &'static str, good: &Value, field: &'static str, unknown: &str) -> Vec<Case> {
    let other = if unknown == UNKNOWN_RUN { UNKNOWN_THREAD } else { UNKNOWN_RUN };
    vec![
        case(method, "no id", but(good, field, json!("")), invalid(field)),
        case(method, "an id of another kind", but(good, field, json!(other)), invalid(field)),
        case(method, "an id that is a subject", but(good, field, json!("thr_>")), invalid(field)),
        case(method, "an id with a newline", but(good, field, json!(format!("{unknown}\n"))), invalid(field)),
        case(method, "an id with NUL", but(good, field, json!(format!("{unknown}\0"))), invalid(field)),
        case(method, "an unknown id", but(good, field, json!(unknown)), NOT_FOUND),
    ]
}

fn check(what: &str, status: &Status, want: Want) {
    let (code, reason) = why(what, status);
    assert_eq!((code, reason.as_str()), (want.code, want.reason), "{what}: {status:?}");
    if !want.field.is_empty() {
        let bad = status.get_details_bad_request().unwrap_or_else(|| panic!("{what}: no BadRequest: {status:?}"));
        assert_eq!(bad.field_violations[0].field, want.field, "{what}");
    }
}

/// Tries every row.
async fn check_all(api: &Api, cases: Vec<Case>) {
    for Case { method, what, body, want } in cases {
        check(&format!("{method}: {what}"), &api.refused(method, body).await, want);
    }
}

#[test]
fn every_rpc_is_in_a_table() {
    let known = Known::default();
    let tables = [
        agent::cases(),
        approval::cases(),
        org::cases(),
        run::cases(&known),
        stream::cases(&known),
        summary::cases(),
        thread::cases(&known),
        worker::cases(),
        holder::cases(&known),
    ];
    let tried: BTreeSet<String> = tables.into_iter().flatten().map(|case| case.method.to_owned()).collect();
    let all: BTreeSet<String> = methods().into_iter().map(|method| method.name).collect();
    // The one rpc that takes nothing: its garbage is in `bytes`.
    let missing: Vec<_> = all.difference(&tried).filter(|method| *method != "GetOrg").collect();
    assert!(missing.is_empty(), "without bad inputs: {missing:?}");
}
