//! Messages of a thread in the order of the conversation.

use super::pages::{self, Begin, Room};
use crate::columns::{At, bad_row, count, int};
use crate::error::sql;
use crate::page::{self, Page, PageRequest};
use crate::steps::cut_content;
use crate::stored::{Parts, ResultRef, Stored, StoredPart};
use crate::tx::Tx;
use runmesh_domain::id::{MessageId, OrgId, RunId, ThreadId};
use runmesh_domain::message::{Message, Part, ProviderData, Role};
use runmesh_domain::{Fault, Result, limits};
use std::collections::HashMap;
use uuid::Uuid;

/// The columns of [`MessageRow`], of a table called `m`.
macro_rules! message_columns {
    () => {
        "m.id, m.thread_id, m.run_id, m.turn_number, m.role, m.parts, m.unfinished, m.internal, m.created_at"
    };
}
pub(crate) use message_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    id: Uuid,
    thread_id: Uuid,
    run_id: Uuid,
    turn_number: i64,
    role: String,
    parts: Stored<Parts>,
    unfinished: bool,
    internal: bool,
    created_at: At,
}

impl MessageRow {
    pub(super) const fn turn_number(&self) -> i64 {
        self.turn_number
    }

    /// The message as far as its row has it.
    pub(crate) fn open(self) -> Result<Opened, Fault> {
        let id = MessageId::from_uuid(self.id);
        let role = match self.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => return Err(bad_row("messages", "role", id, other)),
        };
        let Parts(parts) = self.parts.read("messages", "parts", id)?;
        let message = Message {
            id,
            thread: ThreadId::from_uuid(self.thread_id),
            run: RunId::from_uuid(self.run_id),
            turn_number: count(self.turn_number),
            role,
            parts: Vec::new(),
            unfinished: self.unfinished,
            internal: self.internal,
            created_at: self.created_at.0,
        };
        Ok(Opened { message, parts })
    }
}

/// A message whose results are still to be looked up.
pub(crate) struct Opened {
    message: Message,
    parts: Vec<StoredPart>,
}

/// The results that messages refer to, in the order of the references.
const RESULTS: &str = concat!(
    "SELECT (SELECT ",
    cut_content!("c.content", "w.chars"),
    " FROM calls c WHERE c.run_id = w.run AND c.path = '' AND c.step_index = w.step AND c.call_index = w.call) AS content
     FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::int4[]) WITH ORDINALITY AS w(run, step, call, chars, nth) ORDER BY w.nth"
);

/// Messages with the results that they refer to.
pub(crate) async fn with_results(tx: &mut Tx, opened: Vec<Opened>) -> Result<Vec<Message>> {
    let refs = opened.iter().flat_map(|one| {
        let of = |part: &StoredPart| match part {
            StoredPart::Result(_, of) => Some((one.message.run.uuid(), *of)),
            StoredPart::Whole(_) => None,
        };
        one.parts.iter().filter_map(of)
    });
    let refs: Vec<(Uuid, ResultRef)> = refs.collect();
    let mut results = results(tx, &refs).await?.into_iter();
    let fill = |Opened { mut message, parts }: Opened| {
        let part = |part| match part {
            StoredPart::Whole(part) => part,
            StoredPart::Result(part, _) => with_content(part, results.next().flatten()),
        };
        message.parts = parts.into_iter().map(part).collect();
        message
    };
    Ok(opened.into_iter().map(fill).collect())
}

async fn results(tx: &mut Tx, refs: &[(Uuid, ResultRef)]) -> Result<Vec<Option<String>>> {
    if refs.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query_scalar(RESULTS)
        .bind(refs.iter().map(|(run, _)| *run).collect::<Vec<_>>())
        .bind(refs.iter().map(|(_, of)| int(of.step)).collect::<Vec<_>>())
        .bind(refs.iter().map(|(_, of)| int(of.call)).collect::<Vec<_>>())
        .bind(refs.iter().map(|(_, of)| int(of.chars)).collect::<Vec<_>>());
    query.fetch_all(tx.connection()).await.map_err(sql)
}

/// A result with its content. Nothing of ours takes a call from a journal that a message refers to.
fn with_content(part: Part, content: Option<String>) -> Part {
    match part {
        Part::ToolResult { call_id, name, is_error, content: _ } => {
            let content = content.unwrap_or_else(|| "[the result is not in the journal any more]".to_owned());
            Part::ToolResult { call_id, name, content, is_error }
        }
        other => other,
    }
}

/// A thread's messages in the order of the conversation, then those of turns that wait; internal ones are left out. A page ends early at
/// [`limits::PAGE_BYTES_MAX`]; a message over [`limits::PAGE_MESSAGE_BYTES_MAX`] has its further parts on the next page, under
/// the same id.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`], or a bad `page_token`.
pub async fn messages(tx: &mut Tx, org: OrgId, thread: ThreadId, page: &PageRequest) -> Result<Page<Message>> {
    let begin = page.after()?.unwrap_or(Begin::FIRST);
    super::get(tx, org, thread).await?;
    let room = Room { rows: page.size(), bytes: limits::PAGE_BYTES_MAX, message_bytes: limits::PAGE_MESSAGE_BYTES_MAX };
    let (items, next) = pages::page(tx, thread, begin, &room).await?;
    Ok(Page { items, next_page_token: next.as_ref().map(page::seal).unwrap_or_default() })
}

const BY_ID: &str = concat!("SELECT ", message_columns!(), " FROM messages m WHERE m.id = ANY ($1)");

/// Some messages. Those that are not there, or that cannot be read, are left out.
pub(crate) async fn messages_by_id(tx: &mut Tx, ids: &[MessageId]) -> Result<HashMap<MessageId, Message>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<MessageRow> = sqlx::query_as(BY_ID).bind(ids).fetch_all(tx.connection()).await.map_err(sql)?;
    let messages = with_results(tx, page::readable(rows, MessageRow::open)).await?;
    Ok(messages.into_iter().map(|message| (message.id, message)).collect())
}

/// What a part takes beside its text at most: tags, lengths, and the numbers of its call.
pub(crate) const PART_BYTES: usize = 16;

/// About how much parts take in an answer: what pages are cut by.
pub(crate) fn message_bytes(parts: &[Part]) -> i32 {
    let data = |data: &Option<ProviderData>| data.as_ref().map_or(0, |data| data.bytes() + PART_BYTES);
    let text: usize = parts
        .iter()
        .map(|part| match part {
            Part::Text { text } => text.len(),
            Part::Reasoning { text, provider_data } => text.len() + data(provider_data),
            Part::ToolCall { call_id, name, arguments, provider_data } => {
                call_id.len() + name.len() + arguments.len() + data(provider_data)
            }
            Part::ToolResult { call_id, name, content, is_error: _ } => call_id.len() + name.len() + content.len(),
        })
        .sum();
    i32::try_from(text + parts.len() * PART_BYTES).unwrap_or(i32::MAX)
}
