//! Pages of lists: a bounded number of rows and an opaque token for the rest.

use crate::columns::At;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runmesh_domain::{Fault, Refusal, Timestamp, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Above every time and every id that a row can have.
const BEYOND: (i64, Uuid) = (4_102_444_800_000_000, Uuid::max());

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// Rows at most; 50 when 0, and never more than 1,000.
    pub page_size: u32,
    /// From the page before; empty for the first.
    pub page_token: String,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

impl PageRequest {
    /// The first page of the default size.
    #[must_use]
    pub fn first() -> Self {
        Self::default()
    }

    pub(crate) fn size(&self) -> u32 {
        size(self.page_size)
    }

    /// One row more than the page holds: it tells whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.size()) + 1
    }

    /// The key of the last row that the caller has seen.
    pub(crate) fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Refusal> {
        open(&self.page_token)
    }

    /// Cuts the extra row off and makes the token from the last row that stays.
    pub(crate) fn cut<T, K: Serialize>(&self, items: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        self.cut_bytes(items, |_| 0, key)
    }

    /// As [`PageRequest::cut`], and ends the page early at [`limits::PAGE_BYTES_MAX`]; one row stays at least.
    pub(crate) fn cut_bytes<T, K: Serialize>(
        &self,
        mut items: Vec<T>,
        bytes: impl Fn(&T) -> usize,
        key: impl Fn(&T) -> K,
    ) -> Page<T> {
        let mut total = 0;
        let fits = |item: &&T| {
            total += bytes(item);
            total <= limits::PAGE_BYTES_MAX
        };
        let stay = items.iter().take(self.size() as usize).take_while(fits).count().max(1);
        let more = items.len() > stay;
        items.truncate(stay);
        let last = if more { items.last() } else { None };
        let next_page_token = last.map(|item| seal(&key(item))).unwrap_or_default();
        Page { items, next_page_token }
    }
}

impl<R> Page<R> {
    /// Reads the rows. One that cannot be read is left out, and hides no other.
    pub(crate) fn readable<T>(self, read: impl Fn(R) -> Result<T, Fault>) -> Page<T> {
        Page { items: readable(self.items, read), next_page_token: self.next_page_token }
    }
}

/// The rows that can be read. One that cannot is logged and left out of the list.
pub(crate) fn readable<R, T>(rows: Vec<R>, read: impl Fn(R) -> Result<T, Fault>) -> Vec<T> {
    let read =
        |row| read(row).inspect_err(|fault| tracing::error!(%fault, "a row that cannot be read is left out of a list")).ok();
    rows.into_iter().filter_map(read).collect()
}

/// Where a list by time, newest first, goes on: below this time and id.
pub(crate) fn before(request: &PageRequest) -> Result<(At, Uuid), Refusal> {
    let (at, id): (i64, Uuid) = request.after()?.unwrap_or(BEYOND);
    Ok((At(Timestamp::from_micros(at)), id))
}

/// A page size within its bounds.
pub(crate) fn size(wished: u32) -> u32 {
    if wished == 0 { limits::PAGE_SIZE_DEFAULT } else { wished.min(limits::PAGE_SIZE_MAX) }
}

/// A key as a token.
pub(crate) fn seal<K: Serialize>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key in a token; nothing for the empty one.
pub(crate) fn open<K: DeserializeOwned>(token: &str) -> Result<Option<K>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Refusal::field("page_token", "is not a token of this list");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extra_row_makes_the_token() {
        let request = PageRequest { page_size: 2, ..PageRequest::first() };
        let page = request.cut(vec![1, 2, 3], |item| *item);
        assert_eq!(page.items, [1, 2]);
        let next = PageRequest { page_token: page.next_page_token, ..request.clone() };
        assert_eq!(next.after(), Ok(Some(2)));
        assert_eq!(request.cut(vec![1, 2], |item| *item).next_page_token, "");
        assert_eq!(request.cut(Vec::<i32>::new(), |item| *item).next_page_token, "");
        assert!(open::<i64>("?").is_err());
    }

    #[test]
    fn a_page_ends_at_its_bytes_and_has_a_row_at_least() {
        let request = PageRequest::first();
        let half = limits::PAGE_BYTES_MAX / 2;
        let pages = |sizes: [usize; 3]| {
            let page = request.cut_bytes(sizes.to_vec(), |bytes| *bytes, |bytes| *bytes);
            (page.items.len(), page.next_page_token.is_empty())
        };
        assert_eq!(pages([1, 2, 3]), (3, true));
        assert_eq!(pages([half, half, 1]), (2, false));
        assert_eq!(pages([3 * half, 1, 1]), (1, false));
    }
}
