//! Pages of a conversation for people, from its first message on. Each fits into one answer, whatever the thread holds: a page ends early by its bytes, and a
//! message that is too large for any page goes on on the next.

use super::messages::{MessageRow, message_bytes, message_columns, with_results};
use crate::error::sql;
use crate::page::readable;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::ThreadId;
use runmesh_domain::message::{Message, Part};
use serde::{Deserialize, Serialize};

/// Where a page begins: at a message of the conversation and a part of it, and behind those at a turn that waits. A message that
/// gets its place between two pages is on a later page again, so none is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    place: i64,
    /// The turn, among the messages that have no place yet.
    turn: i64,
    part: usize,
}

impl Begin {
    /// At the first message.
    pub(crate) const FIRST: Self = Self { place: 1, turn: 0, part: 0 };
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

/// What people see: the conversation from the place $4 on, then what waits from the turn $5 on. `total` sums the bytes of the messages
/// from the page's begin.
const PAGE: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    message_columns!(),
    ", m.place, sum(m.bytes) OVER w AS total, row_number() OVER w AS nth, lead(m.id) OVER w IS NOT NULL AS more
       FROM (
         SELECT * FROM (
           (SELECT * FROM messages WHERE thread_id = $1 AND place >= $4 AND place >= 1 AND NOT internal ORDER BY place LIMIT $2 + 1)
           UNION ALL
           (SELECT * FROM messages WHERE thread_id = $1 AND place IS NULL AND turn_number >= $5 AND NOT internal
            ORDER BY turn_number LIMIT $2 + 1)) every ORDER BY place, turn_number, id LIMIT $2 + 1) m
       WINDOW w AS (ORDER BY m.place, m.turn_number, m.id)) m
     WHERE nth <= $2 AND (total <= $3 OR nth = 1) ORDER BY place, turn_number, id"
);

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    message: MessageRow,
    place: Option<i64>,
    more: bool,
}

/// A page for people, and where the next begins. The messages of turns that wait come last.
pub(super) async fn page(tx: &mut Tx, thread: ThreadId, begin: Begin, room: &Room) -> Result<(Vec<Message>, Option<Begin>)> {
    let query = sqlx::query_as(PAGE)
        .bind(thread.uuid())
        .bind(i64::from(room.rows))
        .bind(i64::try_from(room.bytes).unwrap_or(i64::MAX))
        .bind(begin.place)
        .bind(begin.turn);
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let at = |row: &Row, part| match row.place {
        Some(place) => Begin { place, turn: 0, part },
        None => Begin { turn: row.message.turn_number(), part, ..begin },
    };
    let first = rows.first().map(|first| at(first, 0));
    let is_begun = first.is_some_and(|first| (first.place, first.turn) == (begin.place, begin.turn));
    let part = if is_begun { begin.part } else { 0 };
    let placed = rows.iter().filter_map(|row| row.place).max();
    let behind = rows.last().filter(|last| last.more).map(|last| match last.place {
        Some(place) => Begin { place: place + 1, turn: 0, part: 0 },
        None => Begin { place: placed.map_or(begin.place, |place| place + 1), turn: last.message.turn_number() + 1, part: 0 },
    });
    let opened = readable(rows, |row: Row| row.message.open());
    let mut messages = with_results(tx, opened).await?;
    let within = messages.first_mut().zip(first).and_then(|(message, first)| {
        message.parts.drain(..part.min(message.parts.len()));
        let kept = parts_that_fit(message.parts.iter(), room.message_bytes);
        let is_cut = kept < message.parts.len();
        message.parts.truncate(kept);
        is_cut.then_some(Begin { part: part + kept, ..first })
    });
    if within.is_some() {
        messages.truncate(1);
    }
    Ok((messages, within.or(behind)))
}

/// How many of a message's parts go on a page: all that fit, and at least one.
pub(super) fn parts_that_fit<'a>(parts: impl ExactSizeIterator<Item = &'a Part>, bytes_max: usize) -> usize {
    let max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
    let mut bytes = 0_i32;
    let fits = |part: &Part| {
        bytes = bytes.saturating_add(message_bytes(std::slice::from_ref(part)));
        bytes <= max
    };
    let one = parts.len().min(1);
    parts.map(fits).take_while(|fits| *fits).count().max(one)
}

#[cfg(test)]
mod tests {
    use super::super::messages::PART_BYTES;
    use super::*;

    #[test]
    fn a_page_has_a_part_at_least() {
        let part = |bytes: usize| Part::text("x".repeat(bytes - PART_BYTES));
        let fit = |parts: &[Part]| parts_that_fit(parts.iter(), 200);
        assert_eq!(fit(&[part(400), part(20)]), 1);
        assert_eq!(fit(&[part(100), part(100), part(20)]), 2);
        assert_eq!(fit(&[part(20), part(400)]), 1);
        assert_eq!(fit(&[]), 0);
    }
}
