//! Agents and their versions.

use crate::columns::{At, big, count};
use crate::error::{sql, taken};
use crate::page::{self, Page, PageRequest};
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::agent::{Agent, AgentSpec};
use runmesh_domain::error::Error;
use runmesh_domain::id::{AgentId, OrgId};
use runmesh_domain::{Fault, Refusal, Result, limits};
use uuid::Uuid;

/// The name of the agent that an org always has.
pub const DEFAULT_NAME: &str = "default";

/// How a caller names an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentRef {
    /// By its id.
    Id(AgentId),
    /// By its name.
    Name(String),
}

impl AgentRef {
    /// The agent that an org always has.
    #[must_use]
    pub fn default_agent() -> Self {
        Self::Name(DEFAULT_NAME.to_owned())
    }

    /// An id when it reads as one, else a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

macro_rules! agent_columns {
    () => {
        "a.id, a.name, a.version, a.spec, a.created_at, a.updated_at, a.deleted_at IS NOT NULL AS is_deleted"
    };
}

/// A deleted agent is found by its id, so that it can be told from one that never was; its name is free again.
const FIND: &str = concat!("SELECT ", agent_columns!(), " FROM agents a WHERE a.id = $2 AND a.org_id = $1");
const FIND_NAMED: &str =
    concat!("SELECT ", agent_columns!(), " FROM agents a WHERE a.org_id = $1 AND a.name = $2 AND a.deleted_at IS NULL");
/// `total` sums the definitions' bytes from the page's begin.
const LIST: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    agent_columns!(),
    ", sum(a.bytes) OVER w AS total, row_number() OVER w AS nth, lead(a.id) OVER w IS NOT NULL AS more
       FROM (
         SELECT * FROM agents WHERE org_id = $1 AND deleted_at IS NULL AND created_at > '-infinity'
           AND (created_at, id) < ($2, $5) ORDER BY created_at DESC, id DESC LIMIT $3 + 1) a
       WINDOW w AS (ORDER BY a.created_at DESC, a.id DESC)) a
     WHERE nth <= $3 AND (total <= $4 OR nth = 1) ORDER BY created_at DESC, id DESC"
);
const CREATE: &str = concat!(
    "WITH a AS (INSERT INTO agents (id, org_id, name, version, spec) VALUES ($1, $2, $3, 1, $4) RETURNING *),
     v AS (INSERT INTO agent_versions (agent_id, version, org_id, spec) SELECT id, version, org_id, spec FROM a)
     SELECT ",
    agent_columns!(),
    " FROM a"
);
const UPDATE: &str = concat!(
    "WITH a AS (
       UPDATE agents SET version = version + 1, spec = $3, updated_at = clock_timestamp()
       WHERE id = $1 AND version = $2 AND deleted_at IS NULL RETURNING *),
     v AS (INSERT INTO agent_versions (agent_id, version, org_id, spec) SELECT id, version, org_id, spec FROM a)
     SELECT ",
    agent_columns!(),
    " FROM a"
);

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    version: i64,
    spec: Stored<AgentSpec>,
    created_at: At,
    updated_at: At,
    is_deleted: bool,
}

#[derive(sqlx::FromRow)]
struct ListRow {
    #[sqlx(flatten)]
    agent: Row,
    more: bool,
}

impl Row {
    fn read(self) -> Result<Agent, Fault> {
        let id = AgentId::from_uuid(self.id);
        Ok(Agent {
            id,
            name: self.name,
            version: count(self.version),
            spec: self.spec.read("agents", "spec", id)?,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

/// Makes an agent at version 1. Its name and spec were checked at the border.
///
/// # Errors
/// [`Refusal::NameTaken`].
pub async fn create(tx: &mut Tx, org: OrgId, id: AgentId, name: &str, spec: &AgentSpec) -> Result<Agent> {
    let query = sqlx::query_as(CREATE).bind(id.uuid()).bind(org.uuid()).bind(name.to_owned()).bind(Stored::new(spec));
    let row: Row = query.fetch_one(tx.connection()).await.map_err(name_taken)?;
    Ok(row.read()?)
}

/// One agent at its newest version.
///
/// # Errors
/// [`Refusal::NotFound`], for a deleted one too.
pub async fn get(tx: &mut Tx, org: OrgId, agent: &AgentRef) -> Result<Agent> {
    let row = find(tx, org, agent).await?.filter(|row| !row.is_deleted);
    Ok(row.ok_or(Refusal::NotFound { what: "agent" })?.read()?)
}

/// The id of an agent that may get new threads.
pub(crate) async fn resolve(tx: &mut Tx, org: OrgId, agent: &AgentRef) -> Result<AgentId> {
    match find(tx, org, agent).await? {
        None => Err(Refusal::NotFound { what: "agent" }.into()),
        Some(row) if row.is_deleted => Err(Refusal::AgentDeleted.into()),
        Some(row) => Ok(AgentId::from_uuid(row.id)),
    }
}

/// The org's agents, newest first. A page ends early at [`limits::PAGE_BYTES_MAX`], and holds one agent at least.
///
/// # Errors
/// A bad `page_token`.
pub async fn list(tx: &mut Tx, org: OrgId, page: &PageRequest) -> Result<Page<Agent>> {
    let (before, id) = page::before(page)?;
    let bytes = i64::try_from(limits::PAGE_BYTES_MAX).unwrap_or(i64::MAX);
    let query = sqlx::query_as(LIST).bind(org.uuid()).bind(before).bind(i64::from(page.size())).bind(bytes).bind(id);
    let rows: Vec<ListRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let next = rows.last().filter(|last| last.more).map(|last| page::seal(&(last.agent.created_at.0.as_micros(), last.agent.id)));
    // One definition that cannot be read hides itself, not the others.
    let read =
        |row: ListRow| row.agent.read().inspect_err(|fault| tracing::error!(%fault, "an agent is left out of a list")).ok();
    let items = rows.into_iter().filter_map(read).collect();
    Ok(Page { items, next_page_token: next.unwrap_or_default() })
}

/// Makes a new version. Runs accepted before keep theirs. `expected_version` 0 takes whatever is there.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] when the newest version is another than expected.
pub async fn update(tx: &mut Tx, org: OrgId, agent: &AgentRef, spec: &AgentSpec, expected_version: u64) -> Result<Agent> {
    let conflict = Refusal::Conflict { problem: "the agent was changed meanwhile" };
    let found = get(tx, org, agent).await?;
    if expected_version != 0 && expected_version != found.version {
        return Err(conflict.into());
    }
    let query = sqlx::query_as(UPDATE).bind(found.id.uuid()).bind(big(found.version)).bind(Stored::new(spec));
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(conflict)?.read()?)
}

/// Deletes an agent: its name is free again, its threads answer [`Refusal::AgentDeleted`], its open runs go on.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn delete(tx: &mut Tx, org: OrgId, agent: &AgentRef) -> Result<()> {
    let found = get(tx, org, agent).await?;
    let query = "UPDATE agents SET deleted_at = clock_timestamp() WHERE id = $1 AND deleted_at IS NULL";
    sqlx::query(query).bind(found.id.uuid()).execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// Makes the agent `default` when the org has none.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn ensure_default(tx: &mut Tx, org: OrgId, spec: &AgentSpec) -> Result<Agent> {
    let default = AgentRef::default_agent();
    if let Some(row) = find(tx, org, &default).await? {
        return Ok(row.read()?);
    }
    // Deleted ones keep their ids, so the next one's follows from how many there were: the same on every replica.
    let query = "SELECT count(*) FROM agents WHERE org_id = $1 AND name = $2 AND created_at < 'infinity'";
    let query = sqlx::query_scalar(query).bind(org.uuid()).bind(DEFAULT_NAME);
    let before: i64 = query.fetch_one(tx.connection()).await.map_err(sql)?;
    let id = AgentId::derived(&[b"default agent", org.uuid().as_bytes(), &before.to_be_bytes()]);
    let query = "WITH a AS (
                   INSERT INTO agents (id, org_id, name, version, spec) VALUES ($1, $2, $3, 1, $4)
                   ON CONFLICT DO NOTHING RETURNING *)
                 INSERT INTO agent_versions (agent_id, version, org_id, spec) SELECT id, version, org_id, spec FROM a";
    let query = sqlx::query(query).bind(id.uuid()).bind(org.uuid()).bind(DEFAULT_NAME).bind(Stored::new(spec));
    query.execute(tx.connection()).await.map_err(sql)?;
    get(tx, org, &default).await
}

async fn find(tx: &mut Tx, org: OrgId, agent: &AgentRef) -> Result<Option<Row>> {
    let query = match agent {
        AgentRef::Id(id) => sqlx::query_as(FIND).bind(org.uuid()).bind(id.uuid()),
        AgentRef::Name(name) => sqlx::query_as(FIND_NAMED).bind(org.uuid()).bind(name.clone()),
    };
    query.fetch_optional(tx.connection()).await.map_err(sql)
}

fn name_taken(error: sqlx::Error) -> Error {
    if taken(&error) == Some("agents_name") {
        return Refusal::NameTaken { what: "agent" }.into();
    }
    sql(error)
}
