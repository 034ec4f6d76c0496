//! What sqlx says, as the domain's errors. The only file that reads SQLSTATEs.
//!
//! An error is noted in the transaction that it happened in ([`note`]), so that a closure that dropped it cannot commit
//! half of what it meant to, and so that the wrapper knows when trying again is right.

use runmesh_domain::{Error, Fault, Refusal};
use std::cell::Cell;

/// How Postgres is called in faults.
pub(crate) const PART: &str = "postgres";

/// What the statements of the running transaction met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Nothing bad.
    Nothing,
    /// Another transaction got in the way: the whole transaction may be tried again.
    Contention,
    /// Something else.
    Failure,
}

tokio::task_local! {
    /// Set by [`sql`]; one per try of a transaction.
    pub(crate) static MET: Cell<Met>;
}

fn note(met: Met) {
    // Outside of a transaction there is nobody to tell.
    let _ = MET.try_with(|cell| cell.set(met));
}

/// The domain's error for what a statement met before COMMIT: nothing was done.
pub(crate) fn sql(error: sqlx::Error) -> Error {
    let met = if is_contention(&error) { Met::Contention } else { Met::Failure };
    note(met);
    if is_connection(&error) || met == Met::Contention {
        return unavailable(error.to_string());
    }
    match code(&error).as_deref() {
        // Statement, lock and idle time-outs.
        Some("57014" | "55P03" | "25P03" | "53300") => unavailable(error.to_string()),
        // NUL in jsonb or text. The border refuses it; this is for what the border does not know.
        Some("22P05" | "22021") => Refusal::field("text", "must not contain NUL").into(),
        _ => Fault::internal(error.to_string()).into(),
    }
}

/// The domain's error for what COMMIT met.
pub(crate) fn commit(error: &sqlx::Error) -> Error {
    if is_connection(error) {
        return outcome_unknown(error.to_string());
    }
    Fault::internal(error.to_string()).into()
}

/// COMMIT was sent and its answer never came.
pub(crate) fn outcome_unknown(detail: impl Into<String>) -> Error {
    Fault::OutcomeUnknown { part: PART, detail: detail.into() }.into()
}

pub(crate) fn unavailable(detail: impl Into<String>) -> Error {
    Fault::Unavailable { part: PART, detail: detail.into() }.into()
}

/// True when the connection is gone, or was never there.
pub(crate) fn is_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(_) => code(error).is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

/// True when another transaction got in the way and this one did nothing: serialization failures, deadlocks, and our own
/// keys that somebody else took in the same moment.
pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
    match code(error).as_deref() {
        Some("40001" | "40P01") => true,
        Some("23505") => {
            matches!(constraint(error), Some("idempotency_keys_pkey" | "runs_gate" | "runs_turn" | "orgs_pkey" | "orgs_name"))
        }
        _ => false,
    }
}

/// The unique constraint that an insert met.
pub(crate) fn taken(error: &sqlx::Error) -> Option<&str> {
    if code(error).as_deref() == Some("23505") { constraint(error) } else { None }
}

fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::constraint)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}
