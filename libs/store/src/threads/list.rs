//! Lists of threads.

use super::{Row, Thread, thread_columns};
use crate::columns::At;
use crate::error::sql;
use crate::page::{Page, PageRequest};
use crate::tx::Tx;
use runmesh_domain::id::{AgentId, OrgId, UserId};
use runmesh_domain::{Result, Timestamp};
use uuid::Uuid;

/// Which threads are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListThreads {
    /// What part of the list.
    pub page: PageRequest,
    /// Only those of this agent.
    pub agent: Option<AgentId>,
    /// Only those that this person opened.
    pub user: Option<UserId>,
}

const LIST: &str = concat!(
    "SELECT ",
    thread_columns!(),
    " FROM threads t WHERE t.org_id = $1 AND t.deleted_at IS NULL AND t.created_at > '-infinity'
       AND (t.updated_at, t.id) < ($2, $3)
       AND ($4::uuid IS NULL OR t.agent_id = $4) AND ($5::uuid IS NULL OR t.user_id = $5)
     ORDER BY t.updated_at DESC, t.id DESC LIMIT $6"
);

/// Above every id and every time that a thread can have.
const BEYOND: (i64, Uuid) = (4_102_444_800_000_000, Uuid::max());

/// The org's threads, newest change first.
///
/// # Errors
/// A bad `page_token`.
pub async fn list(tx: &mut Tx, org: OrgId, wish: &ListThreads) -> Result<Page<Thread>> {
    let (updated_at, id): (i64, Uuid) = wish.page.after()?.unwrap_or(BEYOND);
    let query = sqlx::query_as(LIST)
        .bind(org.uuid())
        .bind(At(Timestamp::from_micros(updated_at)))
        .bind(id)
        .bind(wish.agent.map(AgentId::uuid))
        .bind(wish.user.map(UserId::uuid))
        .bind(wish.page.fetch());
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let threads = rows.into_iter().map(Row::read).collect();
    Ok(wish.page.cut(threads, |thread: &Thread| (thread.updated_at.as_micros(), thread.id.uuid())))
}
