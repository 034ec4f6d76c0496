//! What sqlx says, as the domain's errors. The only file that reads SQLSTATEs; `means_of_code` decides each class of them.
//!
//! An error is noted in the transaction that it happened in ([`note`]), so that a closure that dropped it cannot commit
//! half of what it meant to, and so that the wrapper knows when trying again is right.

use runmesh_domain::{Error, Fault, Refusal};
use sqlx::postgres::{PgDatabaseError, PgSeverity};
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

/// What an error says of the work that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Another transaction got in the way and this one did nothing: the whole may be tried again at once.
    Contention,
    /// The session is over, or never began. Before COMMIT nothing was done; of a COMMIT nobody knows.
    Gone,
    /// Postgres did not do it, and may at another time. Nothing was done, also when it was the answer to COMMIT.
    NotNow,
    /// A value holds what no column can.
    BadText,
    /// A fault of runmesh.
    Fault,
}

/// The one place that reads SQLSTATEs, class by class as in the appendix of Postgres's manual.
fn means(error: &sqlx::Error) -> Means {
    let Some(code) = code(error) else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Means::Gone,
            _ => Means::Fault,
        };
    };
    match code.as_str() {
        "23505" if is_our_race(error) => Means::Contention,
        code => means_of_code(code),
    }
}

fn means_of_code(code: &str) -> Means {
    match code {
        // Serialization failure, deadlock, and a snapshot that was too old.
        "40001" | "40P01" | "72000" => Means::Contention,
        // A pooler that does not know what became of a statement.
        "40003" => Means::Gone,
        // The time between two statements was over (idle_in_transaction_session_timeout): the session ended before it read the
        // statement that this answers, so not even a COMMIT was done. All other ends of a session leave that open.
        "25P03" => Means::NotNow,
        // transaction_timeout, which may fire while COMMIT runs.
        "25P04" => Means::Gone,
        // An earlier statement failed: nothing of the transaction can be committed.
        "25P02" => Means::NotNow,
        // A write in a transaction that only reads.
        "25006" => Means::Fault,
        // Cancelled or over its time (statement_timeout, lock_timeout, a lock not to be had). Postgres takes no cancel any more
        // once a COMMIT is written.
        "57014" | "55P03" | "55006" => Means::NotNow,
        // NUL in jsonb or text. The border refuses it; this is for what the border does not know.
        "22P05" | "22021" => Means::BadText,
        // Class 08, connections. Class 57, an operator or a crash: shutdown, restart, a dropped database.
        _ if code.starts_with("08") || code.starts_with("57") => Means::Gone,
        // Class 53, a want of disk, memory or connections. Class 58, errors of files. Both are Postgres's machine, not runmesh.
        _ if code.starts_with("53") || code.starts_with("58") => Means::NotNow,
        // Constraints, types, privileges, syntax, internal errors: somebody has to look.
        _ => Means::Fault,
    }
}

/// The domain's error for what a statement met before COMMIT: nothing was done.
pub(crate) fn sql(error: sqlx::Error) -> Error {
    let means = means(&error);
    // A row that cannot be read is no failure of the statement: whoever can do without the row may go on.
    if !is_unreadable(&error) {
        note(if means == Means::Contention { Met::Contention } else { Met::Failure });
    }
    match means {
        Means::Contention | Means::Gone | Means::NotNow => unavailable(error.to_string()),
        Means::BadText => Refusal::field("text", "must not contain NUL").into(),
        Means::Fault => Fault::internal(error.to_string()).into(),
    }
}

/// True when a statement went well and a value of its answer could not be read.
const fn is_unreadable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound)
}

/// True when no statement of the transaction failed so far.
pub(crate) fn is_clean() -> bool {
    MET.try_with(Cell::get).is_ok_and(|met| met == Met::Nothing)
}

/// Forgets what was noted since a savepoint that was rolled back to.
pub(crate) fn forget() {
    note(Met::Nothing);
}

/// The domain's error for what COMMIT met.
pub(crate) fn commit(error: &sqlx::Error) -> Error {
    match means(error) {
        Means::Contention | Means::NotNow => unavailable(error.to_string()),
        // An answer that was refused, as opposed to one that ended the session or could not be read: Postgres rolled back.
        Means::BadText | Means::Fault if is_refusal(error) => Fault::internal(error.to_string()).into(),
        Means::Gone | Means::BadText | Means::Fault => outcome_unknown(error.to_string()),
    }
}

/// True when Postgres refused a statement and goes on with the session. What is worse (FATAL, PANIC) ends the session, whatever
/// its code.
fn is_refusal(error: &sqlx::Error) -> bool {
    let postgres = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    postgres.is_some_and(|error| !matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
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
    means(error) == Means::Gone
}

/// True when another transaction got in the way and this one did nothing: serialization failures, deadlocks, and our own
/// keys that somebody else took in the same moment.
pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
    means(error) == Means::Contention
}

/// True when somebody else took one of the keys that two transactions may want in the same moment.
fn is_our_race(error: &sqlx::Error) -> bool {
    matches!(constraint(error), Some("idempotency_keys_pkey" | "runs_gate" | "runs_turn" | "orgs_pkey" | "orgs_name"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_a_transaction_can_meet_is_decided() {
        let cases = [
            (Means::Contention, &["40001", "40P01", "72000"][..]),
            (
                Means::Gone,
                &["08000", "08003", "08006", "08P01", "40003", "25P04", "57000", "57P01", "57P02", "57P03", "57P04", "57P05"],
            ),
            (Means::NotNow, &["25P02", "25P03", "53000", "53100", "53200", "53300", "55006", "55P03", "57014", "58000", "58030"]),
            (Means::BadText, &["22021", "22P05"]),
            (
                Means::Fault,
                &[
                    "0A000", "25006", "22001", "23502", "23503", "23505", "23514", "40002", "42501", "42P01", "54000", "P0001",
                    "XX000",
                ],
            ),
        ];
        for (want, codes) in cases {
            for code in codes {
                assert_eq!(means_of_code(code), want, "{code}");
            }
        }
    }

    #[test]
    fn a_commit_whose_answer_was_not_read_has_an_unknown_outcome() {
        for error in [sqlx::Error::Protocol("cut".into()), sqlx::Error::WorkerCrashed, sqlx::Error::RowNotFound] {
            let answer = commit(&error);
            assert!(matches!(answer, Error::Fault(Fault::OutcomeUnknown { .. })), "{error}: {answer:?}");
        }
    }
}
