//! Who is working on what in an org, counted from the rows.

use crate::columns::{At, bad_row, count};
use crate::error::sql;
use crate::page;
use crate::tx::Tx;
use runmesh_domain::id::{AgentId, OrgId, RunId, ThreadId, UserId};
use runmesh_domain::limits::Leases;
use runmesh_domain::run::StateName;
use runmesh_domain::{Fault, Result, Timestamp};
use uuid::Uuid;

/// The numbers and the runs behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Distinct agents among the runs that are RUNNING under a live lease.
    pub agents: u64,
    /// Runs that are RUNNING under a live lease.
    pub running: u64,
    /// Runs that wait for a person.
    pub waiting: u64,
    /// Runs that wait for their turn, a worker or a limit. One whose lease is gone waits too.
    pub queued: u64,
    /// The newest active runs.
    pub runs: Vec<ActiveRun>,
    /// When the numbers were true, on the database's clock.
    pub at: Timestamp,
}

/// A run that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRun {
    /// The run.
    pub run: RunId,
    /// Its thread.
    pub thread: ThreadId,
    /// The thread's title.
    pub thread_title: String,
    /// The agent.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// Whose run it is.
    pub user: UserId,
    /// Where it stands.
    pub state: StateName,
    /// Since when it stands there.
    pub since: Timestamp,
}

/// `driven` is true for a run that a live session holds.
const COUNT: &str = "
    SELECT count(DISTINCT r.agent_id) FILTER (WHERE s.id IS NOT NULL) AS agents,
      count(*) FILTER (WHERE s.id IS NOT NULL) AS running, count(*) FILTER (WHERE r.state = 'waiting') AS waiting,
      count(*) FILTER (WHERE s.id IS NULL AND r.state <> 'waiting') AS queued, clock_timestamp() AS at
    FROM runs r LEFT JOIN worker_sessions s ON r.state = 'running' AND s.id = r.session_id AND s.lost_at IS NULL
    WHERE r.org_id = $1 AND r.ended_at IS NULL";
/// The open runs of one state, newest first.
macro_rules! of_state {
    ($nth:literal) => {
        concat!(
            "(SELECT id, thread_id, agent_id, user_id, state, changed_at, created_at FROM runs
              WHERE org_id = $1 AND state = ($3::text[])[",
            $nth,
            "] AND created_at > '-infinity'
              ORDER BY created_at DESC, id DESC LIMIT $2)"
        )
    };
}
const ACTIVE: &str = concat!(
    "SELECT r.id, r.thread_id, t.title, r.agent_id, a.name AS agent_name, r.user_id, r.state, r.changed_at FROM (
       SELECT * FROM (",
    of_state!(1),
    " UNION ALL ",
    of_state!(2),
    " UNION ALL ",
    of_state!(3),
    " UNION ALL ",
    of_state!(4),
    ") r
       ORDER BY r.created_at DESC, r.id DESC LIMIT $2) r
     JOIN threads t ON t.id = r.thread_id JOIN agents a ON a.id = r.agent_id ORDER BY r.created_at DESC, r.id DESC"
);
const OPEN: [StateName; 4] = [StateName::Queued, StateName::Ready, StateName::Running, StateName::Waiting];

#[derive(sqlx::FromRow)]
struct Counts {
    agents: i64,
    running: i64,
    waiting: i64,
    queued: i64,
    at: At,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    thread_id: Uuid,
    title: String,
    agent_id: Uuid,
    agent_name: String,
    user_id: Uuid,
    state: String,
    changed_at: At,
}

/// What is going on in an org. `leases` are those that sessions were opened with; their ends stand in the rows.
///
/// # Errors
/// [`Fault`] only.
pub async fn summary(tx: &mut Tx, org: OrgId, _leases: &Leases, limit: u32) -> Result<Summary> {
    let counts: Counts = sqlx::query_as(COUNT).bind(org.uuid()).fetch_one(tx.connection()).await.map_err(sql)?;
    let open: Vec<&str> = OPEN.iter().map(|state| state.name()).collect();
    let query = sqlx::query_as(ACTIVE).bind(org.uuid()).bind(i64::from(page::size(limit))).bind(open);
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(Summary {
        agents: count(counts.agents),
        running: count(counts.running),
        waiting: count(counts.waiting),
        queued: count(counts.queued),
        runs: rows.into_iter().map(Row::read).collect::<Result<_, _>>()?,
        at: counts.at.0,
    })
}

impl Row {
    fn read(self) -> Result<ActiveRun, Fault> {
        let run = RunId::from_uuid(self.id);
        let state = StateName::from_name(&self.state).ok_or_else(|| bad_row("runs", "state", run, &self.state))?;
        Ok(ActiveRun {
            run,
            thread: ThreadId::from_uuid(self.thread_id),
            thread_title: self.title,
            agent: AgentId::from_uuid(self.agent_id),
            agent_name: self.agent_name,
            user: UserId::from_uuid(self.user_id),
            state,
            since: self.changed_at.0,
        })
    }
}
