//! Pending actions: questions to people that runs wait for. One always ends (A2): decided, expired, or withdrawn with its run.

use crate::columns::{At, int};
use crate::error::sql;
use crate::page::{self, Page, PageRequest};
use crate::runs::{self, Committed, TransitionExtra};
use crate::steps::{self, LateResult};
pub use crate::stored::ActionCall;
use crate::stored::{Form as _, Question, Stored};
use crate::tx::Tx;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::{ActionId, OrgId, RunId, ThreadId};
use runmesh_domain::limits::{self, APPROVAL_WINDOW};
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::run::{Command, Run};
use runmesh_domain::{Fault, Result, Timestamp};
use uuid::Uuid;

/// A question that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAction {
    /// Its id.
    pub id: ActionId,
    /// The run that waits.
    pub run: RunId,
    /// Its thread.
    pub thread: ThreadId,
    /// `recovery`.
    pub kind: String,
    /// The question in words.
    pub summary: String,
    /// The calls concerned.
    pub calls: Vec<ActionCall>,
    /// What came of them after the question was asked.
    pub late_results: Vec<LateResult>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When the run is aborted unless somebody decides.
    pub expires_at: Timestamp,
}

/// A question to store.
pub(crate) struct NewAction<'a> {
    pub(crate) id: ActionId,
    pub(crate) run: &'a Run,
    pub(crate) summary: &'a str,
    pub(crate) calls: &'a [CallKey],
    pub(crate) now: Timestamp,
}

const CALLS: &str = "
    UPDATE calls c SET state = 'unknown' FROM unnest($2::text[], $3::int4[], $4::int4[]) AS a(path, step_index, call_index)
    WHERE c.run_id = $1 AND c.path = a.path AND c.step_index = a.step_index AND c.call_index = a.call_index
    RETURNING c.path, c.step_index, c.call_index, c.name, c.arguments";
const ASK: &str = "
    INSERT INTO pending_actions (id, org_id, run_id, thread_id, kind, payload, digest, state, created_at, expires_at)
    VALUES ($1, $2, $3, $4, 'recovery', $5::text::jsonb, $6, 'pending', $7, $8)";
/// `total` sums the bytes of the payloads, and of what came of their calls late, from the page's begin.
const LIST: &str = "
    SELECT * FROM (
      SELECT p.*, sum(octet_length(p.payload::text) + (SELECT coalesce(sum(octet_length(l.content)), 0)
          FROM late_results l WHERE l.run_id = p.run_id)) OVER w AS total, row_number() OVER w AS nth,
        lead(p.id) OVER w IS NOT NULL AS more
      FROM (SELECT id, run_id, thread_id, kind, payload, created_at, expires_at FROM pending_actions
            WHERE org_id = $1 AND state = 'pending' AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4 + 1) p
      WINDOW w AS (ORDER BY p.created_at, p.id)) p
    WHERE nth <= $4 AND (total <= $5 OR nth = 1) ORDER BY created_at, id";
const DUE: &str = "
    SELECT id, run_id FROM pending_actions a WHERE state = 'pending' AND expires_at <= (SELECT clock_timestamp())
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = a.run_id AND r.set_aside <> '')
    ORDER BY expires_at LIMIT $1";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    run_id: Uuid,
    thread_id: Uuid,
    kind: String,
    payload: Stored<Question>,
    created_at: At,
    expires_at: At,
    more: bool,
}

/// Stores the question of a run that was just paused, and marks its calls as of unknown outcome.
pub(crate) async fn ask(tx: &mut Tx, new: NewAction<'_>) -> Result<()> {
    let NewAction { id, run, summary, calls, now } = new;
    let query = sqlx::query_as(CALLS)
        .bind(run.id.uuid())
        .bind(calls.iter().map(|call| call.step.path.to_string()).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| int(call.step.step_index)).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| int(call.call_index)).collect::<Vec<_>>());
    let rows: Vec<(String, i32, i32, String, String)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(path, step_index, call_index, name, arguments): (String, i32, i32, String, String)| {
        let StepKey { path, step_index } = steps::key(run.id.uuid(), &path, step_index)?;
        let (call_index, arguments_digest) = (call_index.cast_unsigned(), Sha256Digest::of(arguments.as_bytes()).hex());
        Ok(ActionCall { path, step_index, call_index, name, arguments, arguments_digest })
    };
    let mut calls = rows.into_iter().map(read).collect::<Result<Vec<ActionCall>>>()?;
    calls.sort_by_cached_key(|call| StepKey { path: call.path.clone(), step_index: call.step_index }.call(call.call_index));
    let payload = Question { summary: summary.to_owned(), calls }.write().to_string();
    let Sha256Digest(digest) = Sha256Digest::of(payload.as_bytes());
    let query = sqlx::query(ASK)
        .bind(id.uuid())
        .bind(run.org.uuid())
        .bind(run.id.uuid())
        .bind(run.thread.uuid())
        .bind(payload)
        .bind(digest.to_vec())
        .bind(At(now))
        .bind(At(now.later(APPROVAL_WINDOW)));
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// The org's open questions, oldest first. A page ends early at [`limits::PAGE_BYTES_MAX`], and holds one at least.
///
/// # Errors
/// A bad `page_token`.
pub async fn list_pending(tx: &mut Tx, org: OrgId, page: &PageRequest) -> Result<Page<PendingAction>> {
    let (at, id): (i64, Uuid) = page.after()?.unwrap_or((0, Uuid::nil()));
    let bytes = i64::try_from(limits::PAGE_BYTES_MAX).unwrap_or(i64::MAX);
    let query = sqlx::query_as(LIST).bind(org.uuid()).bind(At(Timestamp::from_micros(at))).bind(id);
    let query = query.bind(i64::from(page.size())).bind(bytes);
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let last = rows.last().filter(|last| last.more);
    let next_page_token = last.map(|last| page::seal(&(last.created_at.0.as_micros(), last.id))).unwrap_or_default();
    let mut late = steps::late_of(tx, rows.iter().map(|row| row.run_id).collect()).await?;
    let mut items = page::readable(rows, Row::read);
    for item in &mut items {
        item.late_results = late.remove(&item.run).unwrap_or_default();
    }
    Ok(Page { items, next_page_token })
}

impl Row {
    fn read(self) -> Result<PendingAction, Fault> {
        let id = ActionId::from_uuid(self.id);
        let Question { summary, calls } = self.payload.read("pending_actions", "payload", id)?;
        Ok(PendingAction {
            id,
            run: RunId::from_uuid(self.run_id),
            thread: ThreadId::from_uuid(self.thread_id),
            kind: self.kind,
            summary,
            calls,
            late_results: Vec::new(),
            created_at: self.created_at.0,
            expires_at: self.expires_at.0,
        })
    }
}

/// Ends the runs whose questions nobody decided in time. Scope System; any number of replicas may try.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn expire_due(tx: &mut Tx, limit: u32) -> Result<Vec<Committed>> {
    let query = sqlx::query_as(DUE).bind(i64::from(limit));
    let due: Vec<(Uuid, Uuid)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut committed = Vec::new();
    for (action, run) in due {
        let (action, run) = (ActionId::from_uuid(action), RunId::from_uuid(run));
        committed.extend(runs::sweep_one(tx, run, async |tx| expire_one(tx, action, run).await).await?.unwrap_or_default());
    }
    Ok(committed)
}

async fn expire_one(tx: &mut Tx, action: ActionId, run: RunId) -> Result<Vec<Committed>> {
    let Some(locked) = runs::lock_unless_busy(tx, run).await? else { return Ok(Vec::new()) };
    let changes = locked.row.run.decide(&Command::Expire { action })?;
    Ok(runs::transition(tx, locked, &changes, TransitionExtra::default()).await?.1)
}
