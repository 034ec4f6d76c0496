//! Pages of a conversation from its newest message back, for who reads until a window is full. Within a page the messages stand in
//! the order of the conversation. Each page fits into one answer: it ends early by its bytes, and of a message that is too large for
//! any page it has the last parts, the next one those before. Long results of tools are cut.

use super::messages::{MessageRow, message_columns, with_results};
use super::pages::{Room, parts_that_fit};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::ThreadId;
use runmesh_domain::message::{Message, cut_results};
use runmesh_domain::{Result, limits};
use serde::{Deserialize, Serialize};

/// Where a page ends: at a message, and behind how many of its parts when not behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    place: i64,
    parts: Option<usize>,
}

impl End {
    /// With the whole message at a place, or the one before it.
    pub(crate) const fn at(place: i64) -> Self {
        Self { place, parts: None }
    }
}

/// What the model sees, from $2 back. `total` sums their bytes from the page's end.
const PAGE: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    message_columns!(),
    ", m.place, sum(m.bytes) OVER w AS total, row_number() OVER w AS nth, lead(m.place) OVER w IS NOT NULL AS more
       FROM (SELECT * FROM messages WHERE thread_id = $1 AND place >= 1 AND place <= $2 AND NOT withdrawn
             ORDER BY place DESC LIMIT $3 + 1) m
       WINDOW w AS (ORDER BY m.place DESC)) m
     WHERE nth <= $3 AND (total <= $4 OR nth = 1) ORDER BY place DESC"
);

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    message: MessageRow,
    place: i64,
    more: bool,
}

/// A page, and where the one before it ends.
pub(crate) async fn page_back(tx: &mut Tx, thread: ThreadId, end: End, room: &Room) -> Result<(Vec<Message>, Option<End>)> {
    let query = sqlx::query_as(PAGE)
        .bind(thread.uuid())
        .bind(end.place)
        .bind(i64::from(room.rows))
        .bind(i64::try_from(room.bytes).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let last = rows.first().map_or(end.place, |last| last.place);
    let parts = end.parts.filter(|_| last == end.place);
    let before = rows.last().filter(|oldest| oldest.more).map(|oldest| End::at(oldest.place - 1));
    let opened = rows.into_iter().map(|row| row.message.open()).collect::<Result<Vec<_>, _>>()?;
    let mut messages = with_results(tx, opened).await?;
    for message in &mut messages {
        cut_results(&mut message.parts, limits::OLD_RESULT_BYTES_MAX);
    }
    let within = messages.first_mut().and_then(|message| {
        message.parts.truncate(parts.unwrap_or(usize::MAX));
        let kept = parts_that_fit(message.parts.iter().rev(), room.message_bytes);
        let left = message.parts.len() - kept;
        message.parts.drain(..left);
        (left > 0).then_some(End { place: last, parts: Some(left) })
    });
    if within.is_some() {
        messages.truncate(1);
    }
    messages.reverse();
    Ok((messages, within.or(before)))
}
