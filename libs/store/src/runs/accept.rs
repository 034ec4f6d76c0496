//! Accepting a turn on a locked thread: its message, its run, the frozen spec and the first transition, in one statement.
//!
//! This is the door for every new turn: a message that somebody sends, one that takes the place of a turn that ends in the same
//! transaction, or one that runmesh writes itself.

use super::committed::Committed;
use super::row::{JournalSize, RunRow};
use crate::columns::{At as Time, big, count, stored_actor};
use crate::error::sql;
use crate::stored::{Parts, Stored};
use crate::threads::{message_bytes, title_of};
use crate::tx::Tx;
use runmesh_domain::actor::Actor;
use runmesh_domain::agent::{AgentSpec, ToolKind};
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, ThreadId, UserId};
use runmesh_domain::journal::Usage;
use runmesh_domain::limits::Queues;
use runmesh_domain::log::Position;
use runmesh_domain::message::Part;
use runmesh_domain::run::{Run, RunIds};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::transition::{Cause, Record, Transition};
use runmesh_domain::{Refusal, Result, Timestamp};
use std::time::Duration;
use uuid::Uuid;

/// When a sender whose queue is full may try again: about one turn.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A thread that this transaction has locked, with what its lock keeps still.
#[derive(Debug, Clone)]
pub struct LockedThread {
    /// The thread.
    pub id: ThreadId,
    /// Its org.
    pub org: OrgId,
    /// Who opened it.
    pub owner: UserId,
    /// The agent that answers.
    pub agent: AgentId,
    /// The agent's version.
    pub agent_version: u64,
    /// The agent's definition.
    pub agent_spec: AgentSpec,
    /// True when the agent was deleted.
    pub agent_is_deleted: bool,
    /// The database's clock once the lock was held.
    pub now: Timestamp,
    /// The definition as it is stored.
    agent_form: serde_json::Value,
    title: String,
    next_turn: i64,
    next_place: i64,
}

/// Where a new turn goes in the queue of its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// Behind every turn that was accepted before.
    #[default]
    Back,
    /// Before every turn that waits.
    Front,
}

/// A turn to accept. Its parts were checked at the border.
#[derive(Debug, Clone)]
pub struct NewTurn {
    /// The new run's id.
    pub run: RunId,
    /// The new message's id.
    pub message: MessageId,
    /// Whose turn it is: its limits count it.
    pub user: UserId,
    /// Who makes it.
    pub actor: Actor,
    /// The content of the message.
    pub parts: Vec<Part>,
    /// True when the model sees the message and people do not.
    pub internal: bool,
    /// Where it goes in the queue.
    pub at: At,
    /// True when a turn that holds the thread is a reason to refuse.
    pub only_when_free: bool,
    /// What to run.
    pub spec: RunSpec,
    /// Bounds of the queues.
    pub queues: Queues,
    /// True when [`super::claim_accepted`] follows: the org is then locked along the way, unless another claim holds it.
    pub claim_follows: bool,
}

/// What became of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The run that answers it.
    pub run: RunId,
    /// The stored message.
    pub message: MessageId,
    /// Its thread.
    pub thread: ThreadId,
    /// The order of acceptance, from 1.
    pub turn_number: u64,
    /// Turns of the thread that start before it.
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
      SELECT id, user_id, agent_id, title, next_turn, next_place FROM threads
      WHERE id = $1 AND org_id = $2 AND deleted_at IS NULL FOR UPDATE)
    SELECT t.user_id, t.agent_id, t.title, t.next_turn, t.next_place, m.role AS member_role, a.version AS agent_version, a.spec,
      a.deleted_at IS NOT NULL AS agent_deleted, clock_timestamp() AS now
    FROM thread t JOIN agents a ON a.id = t.agent_id
    LEFT JOIN members m ON m.org_id = $2 AND m.user_id = $3";

/// Looks at the gate and the queues and writes everything. A statement of its own: only one that begins after the thread's
/// lock was got sees what the lock's last holder did. Bounds are judged from its answer; a refusal rolls it all back. No
/// count goes further than its bound, and the org's is taken only when nobody here took it just now. Its lock is for a claim
/// that follows, whose counts must begin after it. A turn at the front starts at once on a thread that no turn holds; one at the
/// back also waits for those in the queue.
const ACCEPT: &str = "
    WITH gate AS MATERIALIZED (
       SELECT (SELECT id FROM runs WHERE thread_id = $3 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting')) AS holder,
         (SELECT count(*) FROM runs WHERE thread_id = $3 AND kind = 'turn' AND state = 'queued') AS queued,
         (SELECT rank FROM runs WHERE thread_id = $3 AND kind = 'turn' AND state = 'queued' ORDER BY rank LIMIT 1) AS first_rank,
         (SELECT count(*) FROM (
            SELECT 1 FROM runs WHERE org_id = $2 AND user_id = $4 AND kind = 'turn' AND state IN ('queued', 'ready', 'running')
            LIMIT $17) u) AS of_user,
         CASE WHEN $18 THEN (SELECT count(*) FROM (
            SELECT 1 FROM runs WHERE org_id = $2 AND kind = 'turn' AND state IN ('queued', 'ready', 'running')
            LIMIT $19) o) END AS of_org),
     free AS MATERIALIZED (
       SELECT holder IS NULL AND (queued = 0 OR $21) AS is_free,
         CASE WHEN $21 THEN coalesce(least(first_rank - 1, $7), $7) ELSE $7 END AS rank FROM gate),
     org AS MATERIALIZED (
       SELECT id FROM orgs WHERE id = $2 AND $20 AND (SELECT is_free FROM free) AND deleted_at IS NULL
       FOR NO KEY UPDATE SKIP LOCKED),
     thread AS (
       UPDATE threads SET next_turn = $7 + 1, next_place = $22 + (SELECT is_free FROM free)::int, updated_at = $8, title = $9
       WHERE id = $3),
     run AS (
       INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, rank, place, state, version, fence,
         needs, created_at, changed_at)
       SELECT $1, $2, $3, $4, $5, $6, $7, rank, CASE WHEN is_free THEN $22 END, CASE WHEN is_free THEN 'ready' ELSE 'queued' END,
         1, 0, $10, $8, $8 FROM free),
     message AS (
       INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, internal, place, created_at)
       SELECT $11, $2, $3, $1, $7, 'user', $12, $13, false, $23, CASE WHEN is_free THEN $22 END, $8 FROM free),
     spec AS (INSERT INTO run_specs (run_id, org_id, spec) VALUES ($1, $2, $14)),
     noted AS (
       INSERT INTO run_transitions
         (run_id, version, org_id, from_state, to_state, cause, fence, session_id, at, record, actor_kind, actor_id)
       SELECT $1, 1, $2, NULL, CASE WHEN is_free THEN 'ready' ELSE 'queued' END, $15, 0, NULL, $8, $16, $24, $25 FROM free)
     SELECT holder, queued, of_user, of_org, rank, is_free, EXISTS (SELECT 1 FROM org) AS org_locked FROM gate, free";

#[derive(sqlx::FromRow)]
struct ThreadRow {
    user_id: Uuid,
    agent_id: Uuid,
    title: String,
    next_turn: i64,
    next_place: i64,
    member_role: Option<String>,
    agent_version: i64,
    spec: Stored<AgentSpec>,
    agent_deleted: bool,
    now: Time,
}

#[derive(sqlx::FromRow)]
struct Gate {
    holder: Option<Uuid>,
    queued: i64,
    of_user: i64,
    of_org: Option<i64>,
    rank: i64,
    is_free: bool,
    org_locked: bool,
}

/// Locks a thread, and looks up as what `user` belongs to its org: the stored name of the role; absent for somebody who does not.
///
/// # Errors
/// [`Refusal::NotFound`] when the org has no such thread.
pub async fn lock_thread(tx: &mut Tx, org: OrgId, thread: ThreadId, user: UserId) -> Result<(LockedThread, Option<String>)> {
    let query = sqlx::query_as(LOCK_THREAD).bind(thread.uuid()).bind(org.uuid()).bind(user.uuid());
    let row: Option<ThreadRow> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    let row = row.ok_or(Refusal::NotFound { what: "thread" })?;
    let agent = AgentId::from_uuid(row.agent_id);
    let locked = LockedThread {
        id: thread,
        org,
        owner: UserId::from_uuid(row.user_id),
        agent,
        agent_version: count(row.agent_version),
        agent_form: row.spec.form().clone(),
        agent_spec: row.spec.read("agents", "spec", agent)?,
        agent_is_deleted: row.agent_deleted,
        now: row.now.0,
        title: row.title,
        next_turn: row.next_turn,
        next_place: row.next_place,
    };
    Ok((locked, row.member_role))
}

/// Accepts a turn on a locked thread: READY when the thread is free for it, else QUEUED. The thread's lock is used up: lock it
/// again to accept another turn.
///
/// # Errors
/// [`Refusal::ThreadBusy`] and [`Refusal::QueueLimit`].
pub async fn accept(tx: &mut Tx, thread: LockedThread, new: NewTurn) -> Result<Accepted> {
    let known = tx.open_counts().recent(thread.org);
    let gate = write(tx, &thread, &new, known.is_none()).await?;
    let of_org = gate.of_org.or(known).unwrap_or_default();
    check_room(&gate, of_org, &new)?;
    tx.open_counts().learn(thread.org, of_org + 1, gate.of_org.is_some());

    let ids = RunIds {
        id: new.run,
        org: thread.org,
        thread: thread.id,
        user: new.user,
        agent: new.spec.agent_id,
        agent_version: new.spec.agent_version,
    };
    let place = gate.is_free.then(|| count(thread.next_place));
    let row = accepted_row(Run::accepted(ids, count(thread.next_turn), gate.rank, place), thread.now);
    let ahead = match new.at {
        At::Back => u32::try_from(gate.queued).unwrap_or(u32::MAX),
        At::Front => 0,
    };
    Ok(Accepted {
        run: new.run,
        message: new.message,
        thread: thread.id,
        turn_number: row.run.turn_number,
        queue_position: ahead.saturating_add(u32::from(gate.holder.is_some())),
        ready: gate.is_free,
        committed: vec![Committed::new(&row, first_transition(&row, new.actor))],
        row,
        spec: new.spec,
        org_locked: gate.org_locked,
    })
}

async fn write(tx: &mut Tx, thread: &LockedThread, new: &NewTurn, count_org: bool) -> Result<Gate> {
    let is_titled = !thread.title.is_empty() || new.internal;
    let title = if is_titled { thread.title.clone() } else { title_of(&new.parts) };
    let (actor_kind, actor_id) = stored_actor(new.actor);
    let query = sqlx::query_as(ACCEPT)
        .bind(new.run.uuid())
        .bind(thread.org.uuid())
        .bind(thread.id.uuid())
        .bind(new.user.uuid())
        .bind(new.spec.agent_id.uuid())
        .bind(big(new.spec.agent_version))
        .bind(thread.next_turn)
        .bind(Time(thread.now))
        .bind(title)
        .bind(needs(&new.spec.agent))
        .bind(new.message.uuid())
        .bind(Stored::new(&Parts::whole(&new.parts)))
        .bind(message_bytes(&new.parts))
        .bind(frozen(thread, &new.spec))
        .bind(Cause::Accepted.name())
        .bind(Stored::new(&Record::Quiet))
        .bind(i64::from(new.queues.open_per_user_max))
        .bind(count_org)
        .bind(i64::from(new.queues.open_per_org_max))
        .bind(new.claim_follows)
        .bind(new.at == At::Front)
        .bind(thread.next_place)
        .bind(new.internal)
        .bind(actor_kind)
        .bind(actor_id);
    query.fetch_one(tx.connection()).await.map_err(sql)
}

/// The spec as it is stored. One of the thread's own agent keeps what its definition has and this version does not know.
fn frozen(thread: &LockedThread, spec: &RunSpec) -> Stored<RunSpec> {
    if (spec.agent_id, spec.agent_version) == (thread.agent, thread.agent_version) {
        return Stored::keeping(spec, "agent", &thread.agent_form);
    }
    Stored::new(spec)
}

/// The built-in tools that a worker must have.
fn needs(agent: &AgentSpec) -> Vec<String> {
    let builtin = agent.tools.iter().filter(|tool| matches!(tool.kind, ToolKind::Builtin));
    builtin.map(|tool| tool.name.clone()).collect()
}

fn check_room(gate: &Gate, of_org: i64, new: &NewTurn) -> Result<(), Refusal> {
    let full = |what, max| Refusal::QueueLimit { what, max, retry_after: RETRY_AFTER };
    if let (Some(holder), true) = (gate.holder, new.only_when_free) {
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
        cancel_at: None,
        not_before: None,
        progress_at: None,
        journal: JournalSize::default(),
        set_aside: String::new(),
        blocked_by: None,
        holder_digest: None,
    }
}

fn first_transition(row: &RunRow, actor: Actor) -> Transition {
    Transition {
        run: row.run.id,
        version: row.run.version,
        from: None,
        to: row.run.state.name(),
        cause: Cause::Accepted,
        fence: row.run.fence,
        session: None,
        actor,
        at: row.changed_at,
        record: Record::Quiet,
    }
}
