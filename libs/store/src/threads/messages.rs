//! Messages of a thread in the order of the conversation.

use crate::columns::{At, bad_row, count};
use crate::error::sql;
use crate::page::{Page, PageRequest};
use crate::tx::Tx;
use runmesh_domain::id::{MessageId, OrgId, RunId, ThreadId};
use runmesh_domain::message::{Message, Part, Role};
use runmesh_domain::{Fault, Result};
use sqlx::types::Json;
use uuid::Uuid;

/// The columns of [`MessageRow`], of a table called `m`.
macro_rules! message_columns {
    () => {
        "m.id, m.thread_id, m.run_id, m.turn_number, m.role, m.parts, m.unfinished, m.created_at"
    };
}
pub(crate) use message_columns;

const LIST: &str =
    concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.thread_id = $1 AND m.place > $2 ORDER BY m.place LIMIT $3");

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    id: Uuid,
    thread_id: Uuid,
    run_id: Uuid,
    turn_number: i64,
    role: String,
    parts: Json<Vec<Part>>,
    unfinished: bool,
    created_at: At,
}

impl MessageRow {
    pub(crate) fn read(self) -> Result<Message, Fault> {
        let id = MessageId::from_uuid(self.id);
        let role = match self.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(bad_row("messages", "role", id, other)),
        };
        Ok(Message {
            id,
            thread: ThreadId::from_uuid(self.thread_id),
            run: RunId::from_uuid(self.run_id),
            turn_number: count(self.turn_number),
            role,
            parts: self.parts.0,
            unfinished: self.unfinished,
            created_at: self.created_at.0,
        })
    }
}

/// A thread's messages, oldest first, those of turns that wait included.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`], or a bad `page_token`.
pub async fn messages(tx: &mut Tx, org: OrgId, thread: ThreadId, page: &PageRequest) -> Result<Page<Message>> {
    let after: i64 = page.after()?.unwrap_or(0);
    super::get(tx, org, thread).await?;
    let query = sqlx::query_as(LIST).bind(thread.uuid()).bind(after).bind(page.fetch());
    let rows: Vec<MessageRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let messages = rows.into_iter().map(MessageRow::read).collect::<Result<Vec<_>, _>>()?;
    Ok(page.cut(messages, |message| message.turn_number * 2 + u64::from(message.role == Role::Assistant)))
}

/// How much text parts hold: what pages are cut by.
pub(crate) fn message_bytes(parts: &[Part]) -> i32 {
    let bytes: usize = parts
        .iter()
        .map(|part| match part {
            Part::Text { text } | Part::Reasoning { text } => text.len(),
            Part::ToolCall { call_id, name, arguments } => call_id.len() + name.len() + arguments.len(),
            Part::ToolResult { call_id, name, content, is_error: _ } => call_id.len() + name.len() + content.len(),
        })
        .sum();
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
