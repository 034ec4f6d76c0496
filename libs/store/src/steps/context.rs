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
use runmesh_domain::message::{Message, cut_results};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Refusal, Result, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Text of the conversation, and of the journal, that travels with an assignment at most; what is more is asked for page by page.
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
    /// Messages before the run's answer in the order of the conversation. Pages go from the newest message, the run's own user
    /// message, back. One that is too large for a page has its earlier parts on the next, under the same id.
    pub messages: Vec<Message>,
    /// The run's journal in the order of [`super::load`], on pages before those of the messages. A step that is too large for a page
    /// has its further calls on the next, where it stands again.
    pub steps: Vec<Step>,
    /// For the next page, with older messages once there were any; absent on the last.
    pub next_page_token: Option<String>,
}

/// Where a page begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Begin {
    /// Within the journal.
    Step(StepBegin),
    /// Within the conversation, from there back.
    Message(threads::End),
}

/// The newest messages of several runs at once, as many as may come along; `older` says whether there are more before them.
const SMALL: &str = concat!(
    "SELECT w.run AS for_run, m.place, m.n > m.nth AS older, ",
    message_columns!(),
    " FROM unnest($1::uuid[], $2::uuid[], $3::int8[]) AS w(run, thread, place)
     CROSS JOIN LATERAL (
       SELECT i.*, sum(i.bytes) OVER w AS total, row_number() OVER w AS nth, count(*) OVER () AS n FROM (
         SELECT * FROM messages WHERE thread_id = w.thread AND place >= 1 AND place <= w.place AND NOT withdrawn
         ORDER BY place DESC LIMIT $4 + 1) i WINDOW w AS (ORDER BY i.place DESC)) m
     WHERE m.total <= $5 AND m.nth <= $4 ORDER BY w.run, m.place"
);

#[derive(sqlx::FromRow)]
struct SmallRow {
    for_run: Uuid,
    place: i64,
    older: bool,
    #[sqlx(flatten)]
    message: MessageRow,
}

/// A page of the context of the run that a lease holds: first the journal, then the conversation from its newest message back. A page
/// of messages ends at about `wanted_bytes`, where that is less than a page holds and not 0.
///
/// # Errors
/// [`Refusal::Fenced`], [`Refusal::RunFinished`], or a bad `page_token`.
pub async fn context(tx: &mut Tx, lease: LeaseClaim, page_token: &str, wanted_bytes: u64) -> Result<Context> {
    let row = runs::read(tx, lease.run).await?;
    if row.run.org != lease.org || row.run.thread != lease.thread {
        return Err(Refusal::Fenced.into());
    }
    row.run.check_holder(lease.fence)?;
    let newest = threads::End::at(own_place(&row));
    let first = if row.last_step > 0 { Begin::Step(StepBegin::FIRST) } else { Begin::Message(newest) };
    let (messages, steps, next) = match page::open(page_token)?.unwrap_or(first) {
        Begin::Step(begin) => {
            let (steps, next) = pages::page(tx, &row, begin, PAGE_STEPS_MAX, PAGE_BYTES_MAX).await?;
            (Vec::new(), steps, Some(next.map_or(Begin::Message(newest), Begin::Step)))
        }
        Begin::Message(end) => {
            let bytes = usize::try_from(wanted_bytes).ok().filter(|wanted| (1..PAGE_BYTES_MAX).contains(wanted));
            let bytes = bytes.unwrap_or(PAGE_BYTES_MAX);
            let room = Room { rows: PAGE_MESSAGES_MAX, bytes, message_bytes: PAGE_BYTES_MAX };
            let (messages, next) = threads::page_back(tx, row.run.thread, end, &room).await?;
            (messages, Vec::new(), next.map(Begin::Message))
        }
    };
    Ok(Context { messages, steps, next_page_token: next.map(|begin| page::seal(&begin)) })
}

/// The contexts of runs, in the order given: the whole journal, and the newest messages; none where the journal or the newest message
/// is too much for an assignment.
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
    let (mut opened, mut places) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    for SmallRow { for_run, place, older, message } in found {
        opened.push(message.open()?);
        places.push((for_run, place, older));
    }
    let mut messages: BTreeMap<RunId, (Vec<Message>, Option<String>)> = BTreeMap::new();
    for ((for_run, place, older), mut message) in places.into_iter().zip(threads::with_results(tx, opened).await?) {
        cut_results(&mut message.parts, limits::OLD_RESULT_BYTES_MAX);
        // The first is the oldest that came along.
        let older = older.then(|| page::seal(&Begin::Message(threads::End::at(place - 1))));
        messages.entry(RunId::from_uuid(for_run)).or_insert_with(|| (Vec::new(), older)).0.push(message);
    }
    let journaled: Vec<RunId> = rows.iter().filter(|row| row.last_step > 0).map(|row| row.run.id).collect();
    let mut steps = if journaled.is_empty() { BTreeMap::new() } else { load::load_many(tx, &journaled).await? };
    let context = |row: &&RunRow| {
        let (messages, next_page_token) = messages.remove(&row.run.id)?;
        let steps = steps.remove(&row.run.id).unwrap_or_default();
        (journal_bytes(&steps) <= INLINE_BYTES_MAX).then_some(Context { messages, steps, next_page_token })
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
