//! Looking at runs, one or many.

use super::row::{Row, RunRow, run_columns};
use super::view::transitions_after;
use crate::error::sql;
use crate::page::{self, Page, PageRequest};
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Refusal, Result};

/// Which runs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRuns {
    /// What part of the list.
    pub page: PageRequest,
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only those in one of these states, when any is given.
    pub states: Vec<StateName>,
    /// Only those that were set aside and are not over.
    pub set_aside: bool,
}

const GET: &str = concat!("SELECT ", run_columns!(), " FROM runs r WHERE r.id = $1");

/// Ranges of the same index, one for each of the states `$3`, merged and ended with the page. A state is a parameter, so that no
/// index of one state is taken for the way in; one that is not there has no rows.
macro_rules! merge {
    ($first:literal $($nth:literal)*, $of:literal, $order:literal) => {
        concat!(
            "SELECT * FROM (", merge!(@range $first, $of, $order), $(" UNION ALL ", merge!(@range $nth, $of, $order),)* ") r ",
            "ORDER BY ", $order, " LIMIT $4"
        )
    };
    (@range $nth:literal, $of:literal, $order:literal) => {
        concat!(
            "(SELECT ", run_columns!(), " FROM runs r WHERE r.state = ($3::text[])[", $nth, "] AND ", $of,
            " ORDER BY ", $order, " LIMIT $4)"
        )
    };
}

const _: () = assert!(StateName::ALL.len() == 9, "a list has a range for each state");
const LIST: &str = merge!(
    1 2 3 4 5 6 7 8 9,
    "r.org_id = $1 AND (r.created_at, r.id) < ($2, $5) AND r.created_at > '-infinity'",
    "r.created_at DESC, r.id DESC"
);
const LIST_OF_THREAD: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.turn_number < $2 AND r.turn_number >= 1 ORDER BY r.turn_number DESC LIMIT $3"
);
const LIST_OVER_OF_THREAD: &str = merge!(
    1 2 3 4 5,
    "r.thread_id = $1 AND r.turn_number < $2 AND r.ended_at IS NOT NULL",
    "r.turn_number DESC"
);
/// Those of a thread that are not over, of which there are few: one holds it, and the queue is bounded.
const LIST_OPEN_OF_THREAD: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.turn_number < $2 AND r.kind = 'turn' AND r.state IN ('ready', 'running', 'waiting')
       UNION ALL SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.turn_number < $2 AND r.kind = 'turn' AND r.state = 'queued') r
     WHERE r.state = ANY ($3) ORDER BY r.turn_number DESC LIMIT $4"
);

/// Those that were set aside and are not over, which are few.
const LIST_ASIDE: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.org_id = $1 AND (r.created_at, r.id) < ($2, $5) AND r.set_aside <> '' AND r.ended_at IS NULL
     AND r.state = ANY ($3) AND ($6::uuid IS NULL OR r.thread_id = $6) ORDER BY r.created_at DESC, r.id DESC LIMIT $4"
);

const QUEUE: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.kind = 'turn' AND r.state IN ('ready', 'running', 'waiting')
       UNION ALL (SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.kind = 'turn' AND r.state = 'queued' ORDER BY r.rank LIMIT 1000)) open
     ORDER BY state = 'queued', rank"
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
    if let (Some(thread), false) = (wish.thread, wish.set_aside) {
        let before: i64 = wish.page.after()?.unwrap_or(i64::MAX);
        let rows = of_thread(tx, thread, before, wish).await?;
        // A thread of another org has no runs here.
        let rows = rows.into_iter().filter(|row| row.org() == org).collect();
        return Ok(wish.page.cut_bytes(rows, Row::words, Row::turn_number).readable(Row::read));
    }
    let (before, id) = page::before(&wish.page)?;
    let statement = if wish.set_aside { LIST_ASIDE } else { LIST };
    let query =
        sqlx::query_as(statement).bind(org.uuid()).bind(before).bind(states(wish, |_| true)).bind(wish.page.fetch()).bind(id);
    let query = if wish.set_aside { query.bind(wish.thread.map(|thread| thread.uuid())) } else { query };
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(wish.page.cut_bytes(rows, Row::words, Row::created).readable(Row::read))
}

/// The runs of a thread below a turn, last turn first: by its turns, or in the states that are wanted.
async fn of_thread(tx: &mut Tx, thread: ThreadId, before: i64, wish: &ListRuns) -> Result<Vec<Row>> {
    if wish.states.is_empty() {
        let query = sqlx::query_as(LIST_OF_THREAD).bind(thread.uuid()).bind(before).bind(wish.page.fetch());
        return query.fetch_all(tx.connection()).await.map_err(sql);
    }
    let mut rows = Vec::new();
    for (statement, states) in [
        (LIST_OPEN_OF_THREAD, states(wish, |state| !state.is_terminal())),
        (LIST_OVER_OF_THREAD, states(wish, StateName::is_terminal)),
    ] {
        if !states.is_empty() {
            let query = sqlx::query_as(statement).bind(thread.uuid()).bind(before).bind(states).bind(wish.page.fetch());
            let found: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
            rows.extend(found);
        }
    }
    rows.sort_by_key(|row: &Row| std::cmp::Reverse(row.turn_number()));
    rows.truncate(usize::try_from(wish.page.fetch()).unwrap_or(usize::MAX));
    Ok(rows)
}

/// The wanted states, each once; all when none is named.
fn states(wish: &ListRuns, which: impl Fn(StateName) -> bool) -> Vec<&'static str> {
    let is_wanted = |state: &StateName| wish.states.is_empty() || wish.states.contains(state);
    StateName::ALL.into_iter().filter(is_wanted).filter(|state| which(*state)).map(StateName::name).collect()
}

/// The run that holds a thread, if one does, then those queued behind it in the order they will start.
///
/// # Errors
/// [`Refusal::NotFound`] for a thread that is not there.
pub async fn queue(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Vec<RunRow>> {
    threads::get(tx, org, thread).await?;
    let rows: Vec<Row> = sqlx::query_as(QUEUE).bind(thread.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(page::readable(rows, Row::read))
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
