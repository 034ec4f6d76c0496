//! Pages of a conversation. Each fits into one answer, whatever the thread holds: a page ends early by its bytes, and a
//! message that is too large for any page goes on on the next.

use super::messages::{MessageRow, message_bytes, message_columns};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::ThreadId;
use runmesh_domain::message::{Message, Part};
use serde::{Deserialize, Serialize};

/// Where a page begins: at a message, and a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    place: i64,
    part: usize,
}

impl Begin {
    /// At the first message.
    pub(crate) const FIRST: Self = Self { place: 0, part: 0 };
}

/// What goes on a page at most.
pub(crate) struct Room {
    /// Messages.
    pub(crate) rows: u32,
    /// Bytes of a page with more than one message.
    pub(crate) bytes: usize,
    /// Bytes of one message, but for a part that is larger by itself. Not less than `bytes`.
    pub(crate) message_bytes: usize,
}

/// The messages from $2 on up to $3. `total` sums their bytes from the page's begin.
const PAGE: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    message_columns!(),
    ", m.place, sum(m.bytes) OVER w AS total, row_number() OVER w AS nth, lead(m.place) OVER w IS NOT NULL AS more
       FROM (SELECT * FROM messages WHERE thread_id = $1 AND place >= $2 AND place <= $3 AND (placed OR $6)
             ORDER BY place LIMIT $4 + 1) m
       WINDOW w AS (ORDER BY m.place)) m
     WHERE nth <= $4 AND (total <= $5 OR nth = 1) ORDER BY place"
);

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    message: MessageRow,
    place: i64,
    more: bool,
}

/// A page, and where the next begins. `until` is the last place of a conversation so far; without it the messages of turns
/// that wait are listed too.
pub(crate) async fn page(
    tx: &mut Tx,
    thread: ThreadId,
    begin: Begin,
    until: Option<i64>,
    room: &Room,
) -> Result<(Vec<Message>, Option<Begin>)> {
    let query = sqlx::query_as(PAGE)
        .bind(thread.uuid())
        .bind(begin.place)
        .bind(until.unwrap_or(i64::MAX))
        .bind(i64::from(room.rows))
        .bind(i64::try_from(room.bytes).unwrap_or(i64::MAX))
        .bind(until.is_none());
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let first = rows.first().map_or(begin.place, |first| first.place);
    let part = if first == begin.place { begin.part } else { 0 };
    let behind = rows.last().filter(|last| last.more).map(|last| Begin { place: last.place + 1, part: 0 });
    let mut messages = rows.into_iter().map(|row| row.message.read()).collect::<Result<Vec<_>, _>>()?;
    let within = messages.first_mut().and_then(|message| {
        message.parts.drain(..part.min(message.parts.len()));
        let kept = parts_that_fit(&message.parts, room.message_bytes);
        let is_cut = kept < message.parts.len();
        message.parts.truncate(kept);
        is_cut.then_some(Begin { place: first, part: part + kept })
    });
    if within.is_some() {
        messages.truncate(1);
    }
    Ok((messages, within.or(behind)))
}

/// How many of a message's parts go on a page: all that fit, and at least one.
fn parts_that_fit(parts: &[Part], bytes_max: usize) -> usize {
    let max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
    let mut bytes = 0_i32;
    let fits = |part: &Part| {
        bytes = bytes.saturating_add(message_bytes(std::slice::from_ref(part)));
        bytes <= max
    };
    parts.iter().map(fits).take_while(|fits| *fits).count().max(parts.len().min(1))
}

#[cfg(test)]
mod tests {
    use super::super::messages::PART_BYTES;
    use super::*;

    #[test]
    fn a_page_has_a_part_at_least() {
        let part = |bytes: usize| Part::text("x".repeat(bytes - PART_BYTES));
        let fit = |parts: &[Part]| parts_that_fit(parts, 200);
        assert_eq!(fit(&[part(400), part(20)]), 1);
        assert_eq!(fit(&[part(100), part(100), part(20)]), 2);
        assert_eq!(fit(&[part(20), part(400)]), 1);
        assert_eq!(fit(&[]), 0);
    }
}
