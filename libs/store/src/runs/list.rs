//! Looking at runs, one or many.

use super::row::{Row, RunRow, read_all, run_columns};
use super::view::transitions_after;
use crate::columns::big;
use crate::error::sql;
use crate::page::{Page, PageRequest};
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Refusal, Result};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use uuid::Uuid;

/// Which runs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRuns {
    /// What part of the list.
    pub page: PageRequest,
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only those in one of these states, when any is given.
    pub states: Vec<StateName>,
}

const GET: &str = concat!("SELECT ", run_columns!(), " FROM runs r WHERE r.id = $1");
/// A list by one of its ways in, each with an index of its own, which it names by the index's own condition.
macro_rules! list_statement {
    ($of:literal) => {
        concat!("SELECT ", run_columns!(), " FROM runs r WHERE ($3::text[] IS NULL OR r.state = ANY ($3)) AND ", $of, " LIMIT $4")
    };
}

const LIST: &str = list_statement!("r.org_id = $1 AND r.id < $2 AND r.created_at > '-infinity' ORDER BY r.id DESC");
const LIST_OPEN: &str = list_statement!("r.org_id = $1 AND r.id < $2 AND r.ended_at IS NULL ORDER BY r.id DESC");
const LIST_OF_THREAD: &str =
    list_statement!("r.thread_id = $1 AND r.turn_number < $2 AND r.turn_number >= 1 ORDER BY r.turn_number DESC");

const QUEUE: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.state IN ('ready', 'running', 'waiting')
       UNION ALL (SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.state = 'queued' ORDER BY r.turn_number LIMIT 1000)) open
     ORDER BY state = 'queued', turn_number"
);

/// One run.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn get(tx: &mut Tx, org: OrgId, run: RunId) -> Result<RunRow> {
    let row = read(tx, run).await?;
    if row.run.org != org {
        return Err(Refusal::NotFound { what: "run" }.into());
    }
    Ok(row)
}

/// One run, whatever org it is of.
pub(crate) async fn read(tx: &mut Tx, run: RunId) -> Result<RunRow> {
    let row: Option<Row> = sqlx::query_as(GET).bind(run.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(Refusal::NotFound { what: "run" })?.read()?)
}

/// The org's runs, newest first; those of one thread, last turn first.
///
/// # Errors
/// A bad `page_token`.
pub async fn list(tx: &mut Tx, org: OrgId, wish: &ListRuns) -> Result<Page<RunRow>> {
    let only_open = !wish.states.is_empty() && wish.states.iter().all(|state| !state.is_terminal());
    if let Some(thread) = wish.thread {
        let before: i64 = wish.page.after()?.unwrap_or(i64::MAX);
        let rows = listed(tx, sqlx::query_as(LIST_OF_THREAD).bind(thread.uuid()).bind(before), wish).await?;
        // A thread of another org has no runs here.
        let rows = rows.into_iter().filter(|row| row.run.org == org).collect();
        return Ok(wish.page.cut_bytes(rows, words, |row| big(row.run.turn_number)));
    }
    let before: Uuid = wish.page.after()?.unwrap_or(Uuid::max());
    let statement = if only_open { LIST_OPEN } else { LIST };
    let rows = listed(tx, sqlx::query_as(statement).bind(org.uuid()).bind(before), wish).await?;
    Ok(wish.page.cut_bytes(rows, words, |row| row.run.id.uuid()))
}

/// Bytes of what a run says of its end, the only thing about it that may be long.
fn words(row: &RunRow) -> usize {
    let (reason, detail) = row.run.state.reason_and_detail();
    reason.len() + detail.len()
}

type ListQuery = QueryAs<'static, Postgres, Row, PgArguments>;

async fn listed(tx: &mut Tx, query: ListQuery, wish: &ListRuns) -> Result<Vec<RunRow>> {
    let states: Vec<&str> = wish.states.iter().map(|state| state.name()).collect();
    let query = query.bind((!states.is_empty()).then_some(states)).bind(wish.page.fetch());
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(read_all(rows)?)
}

/// The run that holds a thread, if one does, then those queued behind it in the order they will start.
///
/// # Errors
/// [`Refusal::NotFound`] for a thread that is not there.
pub async fn queue(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Vec<RunRow>> {
    threads::get(tx, org, thread).await?;
    let rows: Vec<Row> = sqlx::query_as(QUEUE).bind(thread.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(read_all(rows)?)
}

/// Every transition of a run, in order.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn history(tx: &mut Tx, org: OrgId, run: RunId) -> Result<Vec<Transition>> {
    let rows = transitions_after(tx, run, 0).await?;
    // Every run has its first transition.
    if rows.first().is_none_or(|(committed, _)| committed.ids.org != org) {
        return Err(Refusal::NotFound { what: "run" }.into());
    }
    Ok(rows.into_iter().map(|(committed, _)| committed.transition).collect())
}
