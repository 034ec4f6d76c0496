//! Transitions on their way to the run log and to the feed. Rows are found by "not yet marked", never by a watermark: a
//! transaction that commits late is not passed over.

use crate::columns::{At, bad_row, big, count, read_actor, small};
use crate::error::sql;
use crate::runs::Committed;
use crate::stored::{Stored, message_of};
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::log::Position;
use runmesh_domain::message::Message;
use runmesh_domain::run::{RunIds, StateName};
use runmesh_domain::transition::{Cause, Record, Transition};
use runmesh_domain::{Fault, Result, Timestamp};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// The columns of [`Row`], of tables called `t` and `r`.
macro_rules! transition_columns {
    () => {
        "t.run_id, t.version, t.from_state, t.to_state, t.cause, t.fence, t.session_id, t.at, t.record, t.logged, t.actor_kind, t.actor_id, \
         r.org_id, r.thread_id, r.user_id, r.agent_id, r.agent_version, r.log_seq, r.log_chain, r.last_step"
    };
}
pub(crate) use transition_columns;

/// What [`transition_columns`] reads.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    run_id: Uuid,
    version: i64,
    from_state: Option<String>,
    to_state: String,
    cause: String,
    fence: i64,
    session_id: Option<Uuid>,
    at: At,
    record: Stored<Record>,
    logged: bool,
    actor_kind: String,
    actor_id: Option<Uuid>,
    org_id: Uuid,
    thread_id: Uuid,
    user_id: Uuid,
    agent_id: Uuid,
    agent_version: i64,
    log_seq: i64,
    log_chain: i64,
    last_step: i32,
}

impl Row {
    /// The run's version after it.
    pub(crate) const fn version(&self) -> u64 {
        count(self.version)
    }

    /// The transition, and whether it is marked as logged. What its record refers to is taken from `messages`.
    pub(crate) fn read(self, messages: &Messages) -> Result<(Committed, bool), Fault> {
        let run = RunId::from_uuid(self.run_id);
        let id = format!("{run}/{}", self.version);
        let state = |column, name: &str| StateName::from_name(name).ok_or_else(|| bad_row("run_transitions", column, &id, name));
        let cause = Cause::from_name(&self.cause).ok_or_else(|| bad_row("run_transitions", "cause", &id, &self.cause))?;
        let transition = Transition {
            run,
            version: count(self.version),
            from: self.from_state.as_deref().map(|name| state("from_state", name)).transpose()?,
            to: state("to_state", &self.to_state)?,
            cause,
            fence: count(self.fence),
            session: self.session_id.map(SessionId::from_uuid),
            actor: read_actor(&self.actor_kind, self.actor_id),
            at: self.at.0,
            record: with_message(self.record, messages, &id)?,
        };
        let ids = RunIds {
            id: run,
            org: OrgId::from_uuid(self.org_id),
            thread: ThreadId::from_uuid(self.thread_id),
            user: UserId::from_uuid(self.user_id),
            agent: AgentId::from_uuid(self.agent_id),
            agent_version: count(self.agent_version),
        };
        let position = Position { seq: count(self.log_seq), chain: Chain(self.log_chain.cast_unsigned()) };
        Ok((Committed { ids, transition, position, last_step: small(self.last_step), step: None }, self.logged))
    }
}

const UNLOGGED: &str = "
    SELECT r.id, r.org_id, r.thread_id, r.user_id, r.agent_id, r.agent_version, r.log_seq, r.log_chain, f.at
    FROM (
      SELECT t.run_id, t.at FROM run_transitions t JOIN runs x ON x.id = t.run_id AND x.set_aside = ''
      WHERE NOT t.logged AND t.cause NOT IN ('accepted', 'promoted') AND t.at < (SELECT clock_timestamp() - $1 * interval '1 millisecond')
        AND t.at > coalesce($6, '-infinity') AND ($4 = 1 OR abs(hashtext(t.run_id::text)::int8) % $4 = $3) AND t.run_id <> ALL ($5)
      ORDER BY t.at LIMIT $2) f JOIN runs r ON r.id = f.run_id ORDER BY f.at";

const UNFED: &str = concat!(
    "SELECT ",
    transition_columns!(),
    // Else a batch of what this version does not know would hide everything behind it.
    " FROM run_transitions t JOIN runs r ON r.id = t.run_id AND r.set_aside = ''
     WHERE NOT t.fed AND t.cause = ANY ($2) AND t.to_state = ANY ($3) AND t.at > coalesce($7, '-infinity')
       AND ($5 = 1 OR abs(hashtext(t.run_id::text)::int8) % $5 = $4) AND t.run_id <> ALL ($6)
     ORDER BY t.at, t.run_id, t.version LIMIT $1"
);

/// A mark that is lost with the server is only made again, so it need not wait for the disk.
const MARK: &str = "
    WITH logged AS (
      UPDATE run_transitions t SET logged = true FROM unnest($1::uuid[], $2::int8[]) AS m(run_id, version)
      WHERE t.run_id = m.run_id AND t.version <= m.version AND NOT t.logged),
    later AS (SELECT set_config('synchronous_commit', 'off', true))
    SELECT * FROM later";
const MARK_FED: &str = "
    WITH fed AS (
      UPDATE run_transitions t SET fed = true FROM unnest($1::uuid[], $2::int8[]) AS m(run_id, version)
      WHERE t.run_id = m.run_id AND t.version <= m.version AND NOT t.fed),
    later AS (SELECT set_config('synchronous_commit', 'off', true))
    SELECT * FROM later";

#[derive(sqlx::FromRow)]
struct UnloggedRow {
    id: Uuid,
    org_id: Uuid,
    thread_id: Uuid,
    user_id: Uuid,
    agent_id: Uuid,
    agent_version: i64,
    log_seq: i64,
    log_chain: i64,
    at: At,
}

/// A part of the runs: every replica that publishes what is left over takes another one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Which one, from 0.
    pub nth: u32,
    /// Of how many; at least 1.
    pub of: u32,
    /// Runs that are left out, because they could not be published just now.
    pub except: Vec<RunId>,
    /// Only transitions made after this; every one when absent.
    pub after: Option<Timestamp>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// The runs, or the transitions, that can be read.
    pub items: Vec<T>,
    /// Where the next look goes on, when there may be more: rows that stay where they are hide none behind them.
    pub reached: Option<Timestamp>,
}

impl Slice {
    /// Every run.
    #[must_use]
    pub const fn whole() -> Self {
        Self { nth: 0, of: 1, except: Vec::new(), after: None }
    }

    fn except(&self) -> Vec<Uuid> {
        self.except.iter().map(|run| run.uuid()).collect()
    }
}

/// Runs with a transition that was made so long ago and is not marked as logged, with where their logs stood; not those that
/// only wait, which have nothing to show yet. Scope System.
///
/// # Errors
/// [`Fault`] only.
pub async fn unlogged(tx: &mut Tx, older_than_ms: u64, slice: Slice, limit: u32) -> Result<Found<(RunIds, Position)>> {
    let query = sqlx::query_as(UNLOGGED).bind(big(older_than_ms)).bind(i64::from(limit));
    let query = query.bind(i64::from(slice.nth)).bind(i64::from(slice.of)).bind(slice.except()).bind(slice.after.map(At));
    let rows: Vec<UnloggedRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |row: UnloggedRow| {
        let ids = RunIds {
            id: RunId::from_uuid(row.id),
            org: OrgId::from_uuid(row.org_id),
            thread: ThreadId::from_uuid(row.thread_id),
            user: UserId::from_uuid(row.user_id),
            agent: AgentId::from_uuid(row.agent_id),
            agent_version: count(row.agent_version),
        };
        (ids, Position { seq: count(row.log_seq), chain: Chain(row.log_chain.cast_unsigned()) })
    };
    let reached = reached(&rows, limit, |row| row.at);
    let mut seen = HashSet::new();
    let items = rows.into_iter().filter(|row| seen.insert(row.id)).map(read).collect();
    Ok(Found { items, reached })
}

/// Where a look ended that found as many rows as it may.
fn reached<R>(rows: &[R], limit: u32, at: impl Fn(&R) -> At) -> Option<Timestamp> {
    let last = rows.last().filter(|_| u32::try_from(rows.len()).is_ok_and(|rows| rows >= limit));
    last.map(|last| at(last).0)
}

/// Messages that records refer to.
pub(crate) type Messages = HashMap<MessageId, Message>;

/// The messages that the records of these rows refer to.
pub(crate) async fn messages_of(tx: &mut Tx, rows: &[Row]) -> Result<Messages> {
    let ids: Vec<MessageId> = rows.iter().filter_map(|row| message_of(&row.record)).collect();
    if ids.is_empty() { Ok(Messages::new()) } else { threads::messages_by_id(tx, &ids).await }
}

/// A record, with the message that it refers to.
fn with_message(stored: Stored<Record>, messages: &Messages, id: &str) -> Result<Record, Fault> {
    let message = message_of(&stored);
    let mut record = stored.read("run_transitions", "record", id)?;
    if let (Some(message), Record::Finished(finished)) = (message, &mut record) {
        finished.message = messages.get(&message).cloned();
    }
    Ok(record)
}

/// The transitions that this version can read, for people, without messages: what a newer one wrote and this one does not know is
/// passed over.
pub(crate) fn known(rows: Vec<Row>) -> Vec<Transition> {
    let none = Messages::new();
    let read =
        |row: Row| row.read(&none).inspect_err(|fault| tracing::warn!(%fault, "a transition is left out of a history")).ok();
    rows.into_iter().filter_map(read).map(|(committed, _)| committed.transition).collect()
}

/// Rows that this version can read, up to the first of each run that it cannot: what stands behind that one is shown by the
/// version that wrote it, and never before it. One run's row never stops another's.
pub(crate) fn readable(rows: Vec<Row>, messages: &Messages) -> Vec<(Committed, bool)> {
    let mut stopped = HashSet::new();
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        let run = row.run_id;
        if stopped.contains(&run) {
            continue;
        }
        match row.read(messages) {
            Ok(one) => read.push(one),
            Err(fault) => {
                tracing::warn!(%fault, "a transition of a newer version is left to it");
                stopped.insert(run);
            }
        }
    }
    read
}

/// Transitions that the feed has not got, the oldest first; those of one run in order. Without messages: the feed shows none. What a newer version wrote and this one
/// does not know is passed over: the newest transition of a run is all that the feed's readers keep. Scope System.
///
/// # Errors
/// [`Fault`] only.
pub async fn unfed(tx: &mut Tx, slice: Slice, limit: u32) -> Result<Found<(RunIds, Transition)>> {
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    let states: Vec<&str> = StateName::ALL.iter().map(|state| state.name()).collect();
    let query = sqlx::query_as(UNFED).bind(i64::from(limit)).bind(causes).bind(states);
    let query = query.bind(i64::from(slice.nth)).bind(i64::from(slice.of)).bind(slice.except()).bind(slice.after.map(At));
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let reached = reached(&rows, limit, |row| row.at);
    let read = readable(rows, &Messages::new()).into_iter();
    Ok(Found { items: read.map(|(committed, _)| (committed.ids, committed.transition)).collect(), reached })
}

/// Marks what the run log and the feed have: for each run, every transition up to a version. Scope System, in a transaction
/// of its own: it turns waiting for the disk off.
///
/// # Errors
/// [`Fault`] only.
pub async fn mark(tx: &mut Tx, logged: &[(RunId, u64)], fed: &[(RunId, u64)]) -> Result<()> {
    for (statement, marks) in [(MARK, logged), (MARK_FED, fed)] {
        if marks.is_empty() {
            continue;
        }
        // One order for all replicas, so that two of them marking the same runs do not lock crosswise.
        let mut marks = marks.to_vec();
        marks.sort_unstable();
        let runs: Vec<Uuid> = marks.iter().map(|(run, _)| run.uuid()).collect();
        let versions: Vec<i64> = marks.iter().map(|(_, version)| big(*version)).collect();
        sqlx::query(statement).bind(runs).bind(versions).execute(tx.connection()).await.map_err(sql)?;
    }
    Ok(())
}

/// See [`mark`].
///
/// # Errors
/// [`Fault`] only.
pub async fn mark_logged(tx: &mut Tx, marks: &[(RunId, u64)]) -> Result<()> {
    mark(tx, marks, &[]).await
}

/// See [`mark`].
///
/// # Errors
/// [`Fault`] only.
pub async fn mark_fed(tx: &mut Tx, marks: &[(RunId, u64)]) -> Result<()> {
    mark(tx, &[], marks).await
}
