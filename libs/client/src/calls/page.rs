//! Pages of lists.

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paging {
    /// Rows at most; 0 for the mesh's default of 50, more than 1,000 is taken as 1,000.
    pub size: u32,
    /// [`Page::next`] of the page before; empty for the first.
    pub token: String,
}

impl Paging {
    /// The first page, of at most `size` rows.
    #[must_use]
    pub const fn first(size: u32) -> Self {
        Self { size, token: String::new() }
    }

    pub(crate) fn wire_size(&self) -> i32 {
        i32::try_from(self.size).unwrap_or(i32::MAX)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; nothing on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn new(items: Vec<T>, next_page_token: String) -> Self {
        Self { items, next: (!next_page_token.is_empty()).then_some(next_page_token) }
    }

    /// What to ask for next, in pages of `size` rows.
    #[must_use]
    pub fn following(&self, size: u32) -> Option<Paging> {
        self.next.clone().map(|token| Paging { size, token })
    }
}
