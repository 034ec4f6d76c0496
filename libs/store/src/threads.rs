//! Threads: conversations with an agent.

mod delete;
mod list;
mod messages;
mod newest;
mod pages;

pub(crate) use messages::{MessageRow, PART_BYTES, message_bytes, message_columns, messages_by_id, with_results};
pub(crate) use newest::{End, page_back};
pub(crate) use pages::Room;

pub use delete::delete;
pub use list::{ListThreads, list};
pub use messages::messages;

use crate::agents::{self, AgentRef};
use crate::columns::At;
use crate::error::sql;
use crate::orgs;
use crate::tx::Tx;
use runmesh_domain::id::{AgentId, OrgId, ThreadId, UserId};
use runmesh_domain::message::{Part, plain_text};
use runmesh_domain::text::one_line;
use runmesh_domain::{Refusal, Result, Timestamp};
use uuid::Uuid;

/// A title made from a message: one line of a list. People may write longer ones.
const TITLE_CHARS: usize = 80;

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub id: ThreadId,
    /// Its org.
    pub org: OrgId,
    /// Who opened it.
    pub user: UserId,
    /// The agent that answers.
    pub agent: AgentId,
    /// What lists call it; empty until the first message.
    pub title: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A thread to open. Its title was checked at the border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewThread {
    /// The new id.
    pub id: ThreadId,
    /// The org.
    pub org: OrgId,
    /// Who opens it.
    pub user: UserId,
    /// The agent; the org's agent `default` when absent.
    pub agent: Option<AgentRef>,
    /// The title; may be empty.
    pub title: String,
}

macro_rules! thread_columns {
    () => {
        "t.id, t.org_id, t.user_id, t.agent_id, t.title, t.created_at, t.updated_at"
    };
}
pub(crate) use thread_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    org_id: Uuid,
    user_id: Uuid,
    agent_id: Uuid,
    title: String,
    created_at: At,
    updated_at: At,
}

impl Row {
    pub(crate) fn read(self) -> Thread {
        Thread {
            id: ThreadId::from_uuid(self.id),
            org: OrgId::from_uuid(self.org_id),
            user: UserId::from_uuid(self.user_id),
            agent: AgentId::from_uuid(self.agent_id),
            title: self.title,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        }
    }
}

const CREATE: &str = concat!(
    "INSERT INTO threads AS t (id, org_id, user_id, agent_id, title) VALUES ($1, $2, $3, $4, $5) RETURNING ",
    thread_columns!()
);
const GET: &str =
    concat!("SELECT ", thread_columns!(), " FROM threads t WHERE t.id = $1 AND t.org_id = $2 AND t.deleted_at IS NULL");
const RETITLE: &str = concat!(
    "UPDATE threads t SET title = $2, updated_at = clock_timestamp() WHERE t.id = $1 AND t.deleted_at IS NULL RETURNING ",
    thread_columns!()
);

/// Opens a thread.
///
/// # Errors
/// [`Refusal::NotFound`] for an agent that does not exist; [`Refusal::AgentDeleted`].
pub async fn create(tx: &mut Tx, new: NewThread) -> Result<Thread> {
    let agent = new.agent.unwrap_or_else(AgentRef::default_agent);
    let agent = agents::resolve(tx, new.org, &agent).await?;
    let query =
        sqlx::query_as(CREATE).bind(new.id.uuid()).bind(new.org.uuid()).bind(new.user.uuid()).bind(agent.uuid()).bind(new.title);
    let row: Row = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(row.read())
}

/// One thread.
///
/// # Errors
/// [`Refusal::NotFound`], for a deleted one too.
pub async fn get(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Thread> {
    let query = sqlx::query_as(GET).bind(thread.uuid()).bind(org.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(Refusal::NotFound { what: "thread" })?.read())
}

/// Changes a thread's title.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::PermissionDenied`] unless the caller opened it or is an admin.
pub async fn update_title(tx: &mut Tx, org: OrgId, user: UserId, thread: ThreadId, title: &str) -> Result<Thread> {
    check_may_change(tx, org, user, thread).await?;
    let query = sqlx::query_as(RETITLE).bind(thread.uuid()).bind(title.to_owned());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(Refusal::NotFound { what: "thread" })?.read())
}

pub(crate) async fn check_may_change(tx: &mut Tx, org: OrgId, user: UserId, thread: ThreadId) -> Result<()> {
    let found = get(tx, org, thread).await?;
    if found.user != user && !orgs::is_admin(tx, org, user).await? {
        return Err(Refusal::PermissionDenied { why: "only the thread's owner or an admin may change it" }.into());
    }
    Ok(())
}

/// What a thread is called after its first message.
pub(crate) fn title_of(parts: &[Part]) -> String {
    one_line(&plain_text(parts), TITLE_CHARS)
}
