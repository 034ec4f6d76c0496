//! Pages of lists: a bounded number of rows and an opaque token for the rest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runmesh_domain::{Refusal, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    pub(crate) fn cut<T, K: Serialize>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let size = self.size() as usize;
        let more = items.len() > size;
        items.truncate(size);
        let last = if more { items.last() } else { None };
        let next_page_token = last.map(|item| seal(&key(item))).unwrap_or_default();
        Page { items, next_page_token }
    }
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
        assert!(open::<i64>("?").is_err());
    }
}
