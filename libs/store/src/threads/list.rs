//! Lists of threads.

use super::{Row, Thread, thread_columns};
use crate::error::sql;
use crate::page::{self, Page, PageRequest};
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{AgentId, OrgId, UserId};

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

/// A list by one of its ways in, each with an index of its own, which it names by the index's own condition.
macro_rules! list_statement {
    ($of:literal) => {
        concat!(
            "SELECT ",
            thread_columns!(),
            " FROM threads t WHERE t.org_id = $1 AND t.deleted_at IS NULL
               AND (t.updated_at, t.id) < ($2, $3) AND ",
            $of,
            " ORDER BY t.updated_at DESC, t.id DESC LIMIT $4"
        )
    };
}

const LIST: &str = list_statement!("t.created_at > '-infinity'");
const LIST_OF_USER: &str = list_statement!("t.user_id = $5 AND t.updated_at > '-infinity'");
const LIST_OF_AGENT: &str = list_statement!("t.agent_id = $5 AND t.updated_at < 'infinity'");
const LIST_OF_USER_AND_AGENT: &str = list_statement!("t.user_id = $5 AND t.agent_id = $6 AND t.created_at < 'infinity'");

/// The org's threads, newest change first.
///
/// # Errors
/// A bad `page_token`.
pub async fn list(tx: &mut Tx, org: OrgId, wish: &ListThreads) -> Result<Page<Thread>> {
    let (before, id) = page::before(&wish.page)?;
    let (statement, of) = match (wish.user, wish.agent) {
        (None, None) => (LIST, vec![]),
        (Some(user), None) => (LIST_OF_USER, vec![user.uuid()]),
        (None, Some(agent)) => (LIST_OF_AGENT, vec![agent.uuid()]),
        (Some(user), Some(agent)) => (LIST_OF_USER_AND_AGENT, vec![user.uuid(), agent.uuid()]),
    };
    let query = sqlx::query_as(statement).bind(org.uuid()).bind(before).bind(id).bind(wish.page.fetch());
    let query = of.into_iter().fold(query, |query, id| query.bind(id));
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let threads = rows.into_iter().map(Row::read).collect();
    Ok(wish.page.cut(threads, |thread: &Thread| (thread.updated_at.as_micros(), thread.id.uuid())))
}
