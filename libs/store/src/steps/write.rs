//! Writing the journal: whatever one RecordStep holds goes in one statement.

use super::attempt::{Attempt, judged};
use super::load::{self, StoredCall};
use crate::columns::{At, big, int};
use crate::error::sql;
use crate::runs::{LastStep, Locked, RunRow};
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, RunId};
use runmesh_domain::journal::Call;
use runmesh_domain::path::{Path, StepKey};
use runmesh_domain::{Result, Timestamp};

/// The calls of $1 and $2, from the arrays after them. A call that is there already takes the new state.
macro_rules! upsert_calls {
    () => {
        "INSERT INTO calls (run_id, org_id, step_index, call_index, call_id, name, arguments, state, verdict, idempotent,
           content, fence, dispatched_at, ended_at, path)
         SELECT $1::uuid, $2::uuid, * FROM unnest($3::int4[], $4::int4[], $5::text[], $6::text[], $7::text[], $8::text[],
           $9::jsonb[], $10::bool[], $11::text[], $12::int8[], $13::timestamptz[], $14::timestamptz[], $15::text[])
         ON CONFLICT (run_id, path, step_index, call_index) DO UPDATE SET state = EXCLUDED.state, content = EXCLUDED.content,
           fence = EXCLUDED.fence, dispatched_at = coalesce(EXCLUDED.dispatched_at, calls.dispatched_at),
           ended_at = EXCLUDED.ended_at"
    };
}

const UPSERT_CALLS: &str = upsert_calls!();

const RECORD: &str = concat!(
    "WITH called AS (",
    upsert_calls!(),
    "), journaled AS (
       INSERT INTO steps (run_id, org_id, path, step_index, fence, result, digest, created_at)
       SELECT $1, $2, s.path, s.step_index, $16, s.result, s.digest, $17
       FROM unnest($18::text[], $19::int4[], $20::jsonb[], $21::bytea[]) AS s(path, step_index, result, digest)),
     used AS (
       INSERT INTO usage (run_id, org_id, thread_id, user_id, path, step_index, model, input_tokens, output_tokens, at)
       SELECT $1, $2, $29, $30, u.path, u.step_index, u.model, u.input_tokens, u.output_tokens, $17
       FROM unnest($18::text[], $19::int4[], $31::text[], $32::int8[], $33::int8[])
         AS u(path, step_index, model, input_tokens, output_tokens))
     UPDATE runs SET last_step = $22, input_tokens = $23, output_tokens = $24, barren_attempts = $25, cut_attempts = $26,
       log_seq = $27, log_chain = $28, journal_bytes = $34, journal_calls = $35, progress_at = $17 WHERE id = $1"
);

type PgQuery = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Writes what an attempt changed. The run must be locked; `row` is the run as it shall be.
pub(crate) async fn write(tx: &mut Tx, attempt: &Attempt, row: &RunRow, now: Timestamp) -> Result<()> {
    let changed = attempt.changed.iter().filter_map(|key| attempt.calls.get(key).map(|call| (key, call)));
    let calls: Vec<_> = changed.map(|(key, call)| (call, attempt.dispatched_now.contains(key))).collect();
    let query = bind_calls(sqlx::query(RECORD), row.run.id, row.run.org, &calls, now)
        .bind(big(attempt.fence))
        .bind(At(now))
        .bind(attempt.new_steps.iter().map(|step| step.key.path.to_string()).collect::<Vec<_>>())
        .bind(attempt.new_steps.iter().map(|step| int(step.key.step_index)).collect::<Vec<_>>())
        .bind(attempt.new_steps.iter().map(|step| Stored::new(&step.result)).collect::<Vec<_>>())
        .bind(attempt.new_steps.iter().map(|step| step.digest.0.to_vec()).collect::<Vec<_>>())
        .bind(int(attempt.last_step(&Path::TOP)))
        .bind(big(row.usage.input_tokens))
        .bind(big(row.usage.output_tokens))
        .bind(int(row.run.barren_attempts))
        .bind(int(row.run.cut_attempts))
        .bind(big(row.position.seq))
        .bind(row.position.chain.0.cast_signed())
        .bind(row.run.thread.uuid())
        .bind(row.run.user.uuid())
        .bind(attempt.new_steps.iter().map(|step| step.result.model.clone()).collect::<Vec<_>>())
        .bind(attempt.new_steps.iter().map(|step| big(step.result.usage.input_tokens)).collect::<Vec<_>>())
        .bind(attempt.new_steps.iter().map(|step| big(step.result.usage.output_tokens)).collect::<Vec<_>>())
        .bind(big(row.journal.bytes))
        .bind(int(row.journal.calls));
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// Reserves the calls of the step that ends a run; the end closes them unrun.
pub(crate) async fn reserve_closed(tx: &mut Tx, locked: &Locked, last: &LastStep) -> Result<Vec<Call>> {
    if last.result.calls().next().is_none() {
        return Ok(Vec::new());
    }
    let run = &locked.row.run;
    let spec = load::spec(tx, run.id).await?;
    let step = StepKey::top(last.step_index);
    let calls: Vec<_> = last
        .result
        .calls()
        .map(|asked| judged(run.id, &step, &spec, &asked))
        .map(|call| StoredCall { step: step.clone(), fence: run.fence, call })
        .collect();
    let reserved: Vec<_> = calls.iter().map(|call| (call, false)).collect();
    let query = bind_calls(sqlx::query(UPSERT_CALLS), run.id, run.org, &reserved, locked.now);
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(calls.into_iter().map(|stored| stored.call).collect())
}

/// Binds $1 to $15; each call with whether it was dispatched just now.
fn bind_calls(query: PgQuery, run: RunId, org: OrgId, calls: &[(&StoredCall, bool)], now: Timestamp) -> PgQuery {
    fn each<T>(calls: &[(&StoredCall, bool)], of: impl Fn(&StoredCall) -> T) -> Vec<T> {
        calls.iter().map(|(call, _)| of(call)).collect()
    }
    query
        .bind(run.uuid())
        .bind(org.uuid())
        .bind(each(calls, |stored| int(stored.step.step_index)))
        .bind(each(calls, |stored| int(stored.call.call_index)))
        .bind(each(calls, |stored| stored.call.call_id.clone()))
        .bind(each(calls, |stored| stored.call.name.clone()))
        .bind(each(calls, |stored| stored.call.arguments.clone()))
        .bind(each(calls, |stored| stored.call.state.name()))
        .bind(each(calls, |stored| Stored::new(&stored.call.verdict)))
        .bind(each(calls, |stored| stored.call.idempotent))
        .bind(each(calls, |stored| stored.call.content.clone()))
        .bind(each(calls, |stored| big(stored.fence)))
        .bind(calls.iter().map(|(_, dispatched)| dispatched.then_some(At(now))).collect::<Vec<_>>())
        .bind(each(calls, |stored| stored.call.state.is_over().then_some(At(now))))
        .bind(each(calls, |stored| stored.step.path.to_string()))
}
