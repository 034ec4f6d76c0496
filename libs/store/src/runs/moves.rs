//! Writing runs and their transitions, many at once in one statement. Decides nothing: what it is given was decided.

use super::row::RunRow;
use crate::columns::{At, big, int, stored_actor};
use crate::error::sql;
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Fault, Result};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

/// A run as it shall be, and the transition that makes it so.
pub(crate) struct Move {
    /// The version that the row must still have.
    pub(crate) before: u64,
    /// The run after it.
    pub(crate) after: RunRow,
    /// Absent for a change that is no transition.
    pub(crate) transition: Option<Transition>,
}

/// The two statements of a move, as CTEs over $1 to $39. `moved` has a row for every run that was still at its version.
macro_rules! moves_ctes {
    () => {
        "moved AS (
           UPDATE runs r SET state = m.state, version = m.version, fence = m.fence, session_id = m.session_id,
             action_id = m.action_id, cancel = m.cancel, cancel_by = m.cancel_by, cancel_at = m.cancel_at,
             barren_attempts = m.barren_attempts, cut_attempts = m.cut_attempts, reason = m.reason, detail = m.detail,
             claimed_at = m.claimed_at, started_at = m.started_at, ended_at = m.ended_at, changed_at = m.changed_at,
             log_seq = m.log_seq, log_chain = m.log_chain, last_step = m.last_step, input_tokens = m.input_tokens,
             output_tokens = m.output_tokens, holder_digest = m.holder_digest, place = m.place, not_before = m.not_before,
             progress_at = m.progress_at
           FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::uuid[], $7::uuid[], $8::text[],
             $9::uuid[], $10::timestamptz[], $11::int4[], $12::int4[], $13::text[], $14::text[], $15::timestamptz[],
             $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::int8[], $20::int8[], $21::int4[], $22::int8[],
             $23::int8[], $24::bytea[], $25::int8[], $26::timestamptz[], $27::timestamptz[])
             AS m(id, before, state, version, fence, session_id, action_id, cancel, cancel_by, cancel_at, barren_attempts,
               cut_attempts, reason, detail, claimed_at, started_at, ended_at, changed_at, log_seq, log_chain, last_step,
               input_tokens, output_tokens, holder_digest, place, not_before, progress_at)
           WHERE r.id = m.id AND r.version = m.before RETURNING r.id),
         noted AS (
           INSERT INTO run_transitions
             (run_id, version, org_id, from_state, to_state, cause, fence, session_id, at, record, actor_kind, actor_id)
           SELECT * FROM unnest($28::uuid[], $29::int8[], $30::uuid[], $31::text[], $32::text[], $33::text[], $34::int8[],
             $35::uuid[], $36::timestamptz[], $37::jsonb[], $38::text[], $39::uuid[]))"
    };
}
pub(crate) use moves_ctes;

const MOVE: &str = concat!("WITH ", moves_ctes!(), " SELECT count(*) FROM moved");

pub(crate) type PgQuery = Query<'static, Postgres, PgArguments>;

/// Writes all of them. Every run must be locked by this transaction.
///
/// # Errors
/// [`Fault::Internal`] when a row was not at the version it was decided for.
pub(crate) async fn write(tx: &mut Tx, moves: &[Move]) -> Result<()> {
    if moves.is_empty() {
        return Ok(());
    }
    let query = bind(sqlx::query(MOVE), moves);
    let row = query.fetch_one(tx.connection()).await.map_err(sql)?;
    expect_all(&row, moves.len())
}

/// Compare-and-set: each run was at the version that its change was decided for.
pub(crate) fn expect_all(row: &sqlx::postgres::PgRow, wanted: usize) -> Result<()> {
    use sqlx::Row as _;
    let moved: i64 = row.try_get(0).map_err(sql)?;
    if usize::try_from(moved) == Ok(wanted) {
        return Ok(());
    }
    Err(Fault::internal(format!("{moved} of {wanted} runs were at the version they were decided for")).into())
}

/// Binds $1 to $39.
pub(crate) fn bind(query: PgQuery, moves: &[Move]) -> PgQuery {
    fn each<T>(moves: &[Move], of: impl Fn(&RunRow) -> T) -> Vec<T> {
        moves.iter().map(|one| of(&one.after)).collect()
    }
    fn at(time: Option<runmesh_domain::Timestamp>) -> Option<At> {
        time.map(At)
    }
    let query = query
        .bind(each(moves, |row| row.run.id.uuid()))
        .bind(moves.iter().map(|one| big(one.before)).collect::<Vec<_>>())
        .bind(each(moves, |row| row.run.state.name().name()))
        .bind(each(moves, |row| big(row.run.version)))
        .bind(each(moves, |row| big(row.run.fence)))
        .bind(each(moves, |row| row.run.state.session().map(|id| id.uuid())))
        .bind(each(moves, |row| row.run.state.action().map(|id| id.uuid())))
        .bind(each(moves, |row| row.run.cancel.map(|cancel| cancel.mode.name())))
        .bind(each(moves, |row| row.run.cancel.and_then(|cancel| stored_actor(cancel.by).1)))
        .bind(each(moves, |row| at(row.cancel_at)))
        .bind(each(moves, |row| int(row.run.barren_attempts)))
        .bind(each(moves, |row| int(row.run.cut_attempts)))
        .bind(each(moves, |row| row.run.state.reason_and_detail().0.to_owned()))
        .bind(each(moves, |row| row.run.state.reason_and_detail().1.to_owned()))
        .bind(each(moves, |row| at(row.claimed_at)))
        .bind(each(moves, |row| at(row.started_at)))
        .bind(each(moves, |row| at(row.ended_at)))
        .bind(each(moves, |row| At(row.changed_at)))
        .bind(each(moves, |row| big(row.position.seq)))
        .bind(each(moves, |row| row.position.chain.0.cast_signed()))
        .bind(each(moves, |row| int(row.last_step)))
        .bind(each(moves, |row| big(row.usage.input_tokens)))
        .bind(each(moves, |row| big(row.usage.output_tokens)))
        .bind(each(moves, |row| row.holder_digest.clone()))
        .bind(each(moves, |row| row.run.place.map(big)))
        .bind(each(moves, |row| at(row.not_before)))
        .bind(each(moves, |row| at(row.progress_at)));
    bind_transitions(query, moves)
}

fn bind_transitions(query: PgQuery, moves: &[Move]) -> PgQuery {
    let noted: Vec<_> = moves.iter().filter_map(|one| one.transition.as_ref().map(|t| (&one.after, t))).collect();
    fn each<T>(noted: &[(&RunRow, &Transition)], of: impl Fn(&Transition) -> T) -> Vec<T> {
        noted.iter().map(|(_, transition)| of(transition)).collect()
    }
    query
        .bind(each(&noted, |t| t.run.uuid()))
        .bind(each(&noted, |t| big(t.version)))
        .bind(noted.iter().map(|(row, _)| row.run.org.uuid()).collect::<Vec<Uuid>>())
        .bind(each(&noted, |t| t.from.map(StateName::name)))
        .bind(each(&noted, |t| t.to.name()))
        .bind(each(&noted, |t| t.cause.name()))
        .bind(each(&noted, |t| big(t.fence)))
        .bind(each(&noted, |t| t.session.map(|id| id.uuid())))
        .bind(each(&noted, |t| At(t.at)))
        .bind(each(&noted, |t| Stored::new(&t.record)))
        .bind(each(&noted, |t| stored_actor(t.actor).0))
        .bind(each(&noted, |t| stored_actor(t.actor).1))
}
