//! What a worker needs to know to drive a run: the conversation before its answer, and its journal.

use super::load;
use super::pages::{self, StepBegin};
use crate::columns::big;
use crate::error::sql;
use crate::page;
use crate::runs::{self, RunRow};
use crate::threads::{self, MessageRow, Room, message_bytes, message_columns};
use crate::tx::Tx;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::Step;
use runmesh_domain::message::Message;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Refusal, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Text that travels with an assignment at most; what is more is asked for page by page.
const INLINE_BYTES_MAX: i32 = 256 << 10;
/// Messages that travel with an assignment at most.
const INLINE_MESSAGES_MAX: i64 = 200;
/// Text of one page, but for a part, or for a step with one result of it, that is larger by itself.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Messages of one page.
const PAGE_MESSAGES_MAX: u32 = 200;
/// Steps of one page.
const PAGE_STEPS_MAX: u32 = 50;

/// The conversation and the journal of a run, or a page of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Messages before the run's answer in the order of the conversation, the run's own user message last. One that is too
    /// large for a page has its further parts on the next, under the same id.
    pub messages: Vec<Message>,
    /// The run's journal, behind the messages. A step that is too large for a page has its further calls on the next, where
    /// it stands again.
    pub steps: Vec<Step>,
    /// For the next page; absent on the last.
    pub next_page_token: Option<String>,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Begin {
    /// Within the conversation.
    Message(threads::Begin),
    /// Within the journal.
    Step(StepBegin),
}

/// The whole conversation of several runs at once; nothing of those for which it is too much.
const SMALL: &str = concat!(
    "SELECT w.run AS for_run, ",
    message_columns!(),
    " FROM unnest($1::uuid[], $2::uuid[], $3::int8[]) AS w(run, thread, place)
     CROSS JOIN LATERAL (
       SELECT i.*, sum(i.bytes) OVER () AS total, count(*) OVER () AS n FROM (
         SELECT * FROM messages WHERE thread_id = w.thread AND place >= 1 AND place <= w.place AND NOT withdrawn
         ORDER BY place DESC LIMIT $4 + 1) i) m
     WHERE m.total <= $5 AND m.n <= $4 ORDER BY w.run, m.place"
);

#[derive(sqlx::FromRow)]
struct SmallRow {
    for_run: Uuid,
    #[sqlx(flatten)]
    message: MessageRow,
}

/// A page of the context of the run that a lease holds.
///
/// # Errors
/// [`Refusal::Fenced`], [`Refusal::RunFinished`], or a bad `page_token`.
pub async fn context(tx: &mut Tx, lease: LeaseClaim, page_token: &str) -> Result<Context> {
    let row = runs::read(tx, lease.run).await?;
    if row.run.org != lease.org || row.run.thread != lease.thread {
        return Err(Refusal::Fenced.into());
    }
    row.run.check_holder(lease.fence)?;
    let (messages, steps, next) = match page::open(page_token)?.unwrap_or(Begin::Message(threads::Begin::FIRST)) {
        Begin::Message(begin) => {
            let room = Room { rows: PAGE_MESSAGES_MAX, bytes: PAGE_BYTES_MAX, message_bytes: PAGE_BYTES_MAX };
            let (messages, next) = threads::page(tx, row.run.thread, begin, Some(own_place(&row)), &room).await?;
            let journal = (row.last_step > 0).then_some(Begin::Step(StepBegin::FIRST));
            (messages, Vec::new(), next.map(Begin::Message).or(journal))
        }
        Begin::Step(begin) => {
            let (steps, next) = pages::page(tx, &row, begin, PAGE_STEPS_MAX, PAGE_BYTES_MAX).await?;
            (Vec::new(), steps, next.map(Begin::Step))
        }
    };
    Ok(Context { messages, steps, next_page_token: next.map(|begin| page::seal(&begin)) })
}

/// The whole contexts of runs, in the order given; none where one is too much for an assignment.
pub(crate) async fn small_contexts(tx: &mut Tx, rows: &[&RunRow]) -> Result<Vec<Option<Context>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query_as(SMALL)
        .bind(rows.iter().map(|row| row.run.id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.run.thread.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| own_place(row)).collect::<Vec<_>>())
        .bind(INLINE_MESSAGES_MAX)
        .bind(i64::from(INLINE_BYTES_MAX));
    let found: Vec<SmallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut messages: BTreeMap<RunId, Vec<Message>> = BTreeMap::new();
    for SmallRow { for_run, message } in found {
        messages.entry(RunId::from_uuid(for_run)).or_default().push(message.read()?);
    }
    let journaled: Vec<RunId> = rows.iter().filter(|row| row.last_step > 0).map(|row| row.run.id).collect();
    let mut steps = if journaled.is_empty() { BTreeMap::new() } else { load::load_many(tx, &journaled).await? };
    let context = |row: &&RunRow| {
        let messages = messages.remove(&row.run.id)?;
        let steps = steps.remove(&row.run.id).unwrap_or_default();
        (journal_bytes(&steps) <= INLINE_BYTES_MAX).then_some(Context { messages, steps, next_page_token: None })
    };
    Ok(rows.iter().map(context).collect())
}

/// The place of the run's own user message in the conversation.
fn own_place(row: &RunRow) -> i64 {
    big(row.run.place.unwrap_or_default())
}

fn journal_bytes(steps: &[Step]) -> i32 {
    let of_step = |step: &Step| {
        let results = step.calls.iter().map(|call| i32::try_from(call.content.len()).unwrap_or(i32::MAX));
        results.fold(message_bytes(&step.result.parts), i32::saturating_add)
    };
    steps.iter().map(of_step).fold(0, i32::saturating_add)
}
