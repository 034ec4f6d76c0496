//! Accepting a message: the message, its run, the frozen spec and the first transition, in two statements.

use super::committed::Committed;
use super::row::RunRow;
use crate::columns::{At, big, count};
use crate::error::sql;
use crate::orgs::MemberRole;
use crate::threads::{message_bytes, title_of};
use crate::tx::Tx;
use runmesh_domain::agent::{AgentSpec, ToolKind};
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, ThreadId, UserId};
use runmesh_domain::journal::Usage;
use runmesh_domain::limits::Queues;
use runmesh_domain::log::Position;
use runmesh_domain::message::Part;
use runmesh_domain::run::{Run, RunIds};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::transition::{Cause, Record, Stored, Transition};
use runmesh_domain::{Refusal, Result, Timestamp};
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// When a sender whose queue is full may try again: about one turn.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What to do when the thread is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBusy {
    /// Start after everything accepted before.
    #[default]
    Enqueue,
    /// Refuse with THREAD_BUSY.
    Reject,
}

/// A message to accept. Its parts were checked at the border.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The org.
    pub org: OrgId,
    /// The sender.
    pub user: UserId,
    /// The thread.
    pub thread: ThreadId,
    /// The content.
    pub parts: Vec<Part>,
    /// What to do when the thread is busy.
    pub on_busy: OnBusy,
    /// The mesh's model, for agents that name none.
    pub default_model: Option<String>,
    /// The W3C traceparent of the call; empty when there is none.
    pub traceparent: String,
    /// The new run's id.
    pub run: RunId,
    /// The new message's id.
    pub message: MessageId,
    /// Bounds of the queues.
    pub queues: Queues,
    /// True when [`super::claim_accepted`] follows: the org is then locked along the way, unless another claim holds it.
    pub claim_follows: bool,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The run that answers it.
    pub run: RunId,
    /// The stored message.
    pub message: MessageId,
    /// Its thread.
    pub thread: ThreadId,
    /// Its turn, from 1.
    pub turn_number: u64,
    /// Turns of the thread that come before it.
    pub queue_position: u32,
    /// True when it may be claimed now.
    pub ready: bool,
    /// Its first transition.
    pub committed: Vec<Committed>,
    pub(super) row: RunRow,
    pub(super) spec: RunSpec,
    /// Whether the org's row is locked by this transaction.
    pub(super) org_locked: bool,
}

/// Locks the thread and reads everything about it that its lock keeps still. The clock is read under the lock.
const LOCK_THREAD: &str = "
    WITH thread AS MATERIALIZED (
      SELECT id, user_id, agent_id, title, next_turn FROM threads
      WHERE id = $1 AND org_id = $2 AND deleted_at IS NULL FOR UPDATE)
    SELECT t.user_id, t.agent_id, t.title, t.next_turn, m.role AS member_role, a.version AS agent_version, a.spec,
      a.deleted_at IS NOT NULL AS agent_deleted, clock_timestamp() AS now
    FROM thread t JOIN agents a ON a.id = t.agent_id
    LEFT JOIN members m ON m.org_id = $2 AND m.user_id = $3";

/// Looks at the gate and the queues and writes everything. A statement of its own: only one that begins after the thread's
/// lock was got sees what the lock's last holder did. Bounds are judged from its answer; a refusal rolls it all back. No
/// count goes further than its bound, and the org's is taken only when nobody here took it just now. Its lock is for a claim
/// that follows, whose counts must begin after it.
const ACCEPT: &str = "
    WITH gate AS MATERIALIZED (
       SELECT (SELECT id FROM runs WHERE thread_id = $3 AND state IN ('ready', 'running', 'waiting')) AS holder,
         (SELECT count(*) FROM runs WHERE thread_id = $3 AND state = 'queued') AS queued,
         (SELECT count(*) FROM (
            SELECT 1 FROM runs WHERE org_id = $2 AND user_id = $4 AND ended_at IS NULL LIMIT $17) u) AS of_user,
         CASE WHEN $18 THEN (SELECT count(*) FROM (
            SELECT 1 FROM runs WHERE org_id = $2 AND ended_at IS NULL LIMIT $19) o) END AS of_org),
     free AS MATERIALIZED (SELECT holder IS NULL AND queued = 0 AS is_free FROM gate),
     org AS MATERIALIZED (
       SELECT id FROM orgs WHERE id = $2 AND $20 AND (SELECT is_free FROM free) AND deleted_at IS NULL
       FOR NO KEY UPDATE SKIP LOCKED),
     thread AS (UPDATE threads SET next_turn = $7 + 1, updated_at = $8, title = $9 WHERE id = $3),
     run AS (
       INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version, fence, needs,
         created_at, changed_at)
       SELECT $1, $2, $3, $4, $5, $6, $7, CASE WHEN is_free THEN 'ready' ELSE 'queued' END, 1, 0, $10, $8, $8 FROM free),
     message AS (
       INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, placed, created_at)
       SELECT $11, $2, $3, $1, $7, 'user', $12, $13, false, is_free, $8 FROM free),
     spec AS (INSERT INTO run_specs (run_id, org_id, spec) VALUES ($1, $2, $14)),
     noted AS (
       INSERT INTO run_transitions (run_id, version, org_id, from_state, to_state, cause, fence, session_id, at, record)
       SELECT $1, 1, $2, NULL, CASE WHEN is_free THEN 'ready' ELSE 'queued' END, $15, 0, NULL, $8, $16 FROM free)
     SELECT holder, queued, of_user, of_org, EXISTS (SELECT 1 FROM org) AS org_locked FROM gate";

#[derive(sqlx::FromRow)]
struct ThreadRow {
    user_id: Uuid,
    agent_id: Uuid,
    title: String,
    next_turn: i64,
    member_role: Option<String>,
    agent_version: i64,
    spec: Json<AgentSpec>,
    agent_deleted: bool,
    now: At,
}

#[derive(sqlx::FromRow)]
struct Gate {
    holder: Option<Uuid>,
    queued: i64,
    of_user: i64,
    of_org: Option<i64>,
    org_locked: bool,
}

/// Accepts a message: READY when its thread is free, else QUEUED behind everything accepted before.
///
/// # Errors
/// [`Refusal::NotFound`] for a thread that the caller cannot see; [`Refusal::PermissionDenied`] unless the caller opened it
/// or is an admin; [`Refusal::AgentDeleted`]; [`Refusal::ModelNotConfigured`]; [`Refusal::ThreadBusy`];
/// [`Refusal::QueueLimit`].
pub async fn send(tx: &mut Tx, new: NewMessage) -> Result<Accepted> {
    let query = sqlx::query_as(LOCK_THREAD).bind(new.thread.uuid()).bind(new.org.uuid()).bind(new.user.uuid());
    let thread: Option<ThreadRow> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    let thread = thread.ok_or(Refusal::NotFound { what: "thread" })?;
    check_may_send(&thread, new.user)?;
    let spec = freeze(&thread, &new)?;
    let known = tx.open_counts().recent(new.org);
    let gate = write(tx, &thread, &new, &spec, known.is_none()).await?;
    let of_org = gate.of_org.or(known).unwrap_or_default();
    check_room(&gate, of_org, &new)?;
    tx.open_counts().learn(new.org, of_org + 1, gate.of_org.is_some());

    let ids = RunIds {
        id: new.run,
        org: new.org,
        thread: new.thread,
        user: new.user,
        agent: spec.agent_id,
        agent_version: spec.agent_version,
    };
    let ready = gate.holder.is_none() && gate.queued == 0;
    let run = Run::accepted(ids, count(thread.next_turn), ready);
    let row = accepted_row(run, thread.now.0);
    let queue_position = u32::try_from(gate.queued).unwrap_or(u32::MAX).saturating_add(u32::from(gate.holder.is_some()));
    let committed = vec![Committed::new(&row, first_transition(&row))];
    let turn_number = row.run.turn_number;
    let (run, message, thread, org_locked) = (new.run, new.message, new.thread, gate.org_locked);
    Ok(Accepted { run, message, thread, turn_number, queue_position, ready, committed, row, spec, org_locked })
}

fn check_may_send(thread: &ThreadRow, user: UserId) -> Result<(), Refusal> {
    let role = thread.member_role.as_deref().and_then(MemberRole::from_name);
    match role {
        None => Err(Refusal::NotFound { what: "thread" }),
        Some(MemberRole::Member) if thread.user_id != user.uuid() => {
            Err(Refusal::PermissionDenied { why: "only the thread's owner or an admin may send to it" })
        }
        Some(_) if thread.agent_deleted => Err(Refusal::AgentDeleted),
        Some(_) => Ok(()),
    }
}

fn freeze(thread: &ThreadRow, new: &NewMessage) -> Result<RunSpec, Refusal> {
    let mut agent = thread.spec.0.clone();
    if agent.model.is_empty() {
        agent.model = new.default_model.clone().filter(|model| !model.is_empty()).ok_or(Refusal::ModelNotConfigured)?;
    }
    Ok(RunSpec {
        agent_id: AgentId::from_uuid(thread.agent_id),
        agent_version: count(thread.agent_version),
        agent,
        accepted_at: thread.now.0,
        traceparent: new.traceparent.clone(),
    })
}

async fn write(tx: &mut Tx, thread: &ThreadRow, new: &NewMessage, spec: &RunSpec, count_org: bool) -> Result<Gate> {
    let title = if thread.title.is_empty() { title_of(&new.parts) } else { thread.title.clone() };
    let query = sqlx::query_as(ACCEPT)
        .bind(new.run.uuid())
        .bind(new.org.uuid())
        .bind(new.thread.uuid())
        .bind(new.user.uuid())
        .bind(spec.agent_id.uuid())
        .bind(big(spec.agent_version))
        .bind(thread.next_turn)
        .bind(thread.now)
        .bind(title)
        .bind(needs(&spec.agent))
        .bind(new.message.uuid())
        .bind(Json(&new.parts))
        .bind(message_bytes(&new.parts))
        .bind(Json(spec))
        .bind(Cause::Accepted.name())
        .bind(Json(Stored::new(Record::Quiet)))
        .bind(i64::from(new.queues.open_per_user_max))
        .bind(count_org)
        .bind(i64::from(new.queues.open_per_org_max))
        .bind(new.claim_follows);
    query.fetch_one(tx.connection()).await.map_err(sql)
}

/// The built-in tools that a worker must have.
fn needs(agent: &AgentSpec) -> Vec<String> {
    let builtin = agent.tools.iter().filter(|tool| matches!(tool.kind, ToolKind::Builtin));
    builtin.map(|tool| tool.name.clone()).collect()
}

fn check_room(gate: &Gate, of_org: i64, new: &NewMessage) -> Result<(), Refusal> {
    let full = |what, max| Refusal::QueueLimit { what, max, retry_after: RETRY_AFTER };
    if let (Some(holder), OnBusy::Reject) = (gate.holder, new.on_busy) {
        return Err(Refusal::ThreadBusy { run: RunId::from_uuid(holder) });
    }
    let Queues { queued_per_thread_max, open_per_user_max, open_per_org_max, .. } = new.queues;
    if gate.holder.is_some() && gate.queued >= i64::from(queued_per_thread_max) {
        return Err(full("too many turns wait on this thread", queued_per_thread_max));
    }
    if gate.of_user >= i64::from(open_per_user_max) {
        return Err(full("the user has too many open runs", open_per_user_max));
    }
    if of_org >= i64::from(open_per_org_max) {
        return Err(full("the org has too many open runs", open_per_org_max));
    }
    Ok(())
}

fn accepted_row(run: Run, now: Timestamp) -> RunRow {
    RunRow {
        run,
        created_at: now,
        claimed_at: None,
        started_at: None,
        ended_at: None,
        changed_at: now,
        usage: Usage::default(),
        position: Position::default(),
        last_step: 0,
        blocked_by: None,
        holder_digest: None,
    }
}

fn first_transition(row: &RunRow) -> Transition {
    Transition {
        run: row.run.id,
        version: row.run.version,
        from: None,
        to: row.run.state.name(),
        cause: Cause::Accepted,
        fence: row.run.fence,
        session: None,
        at: row.changed_at,
        record: Record::Quiet,
    }
}
