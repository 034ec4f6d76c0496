//! The rolling hash over a run's events, which tells two logs of the same length apart.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first eight bytes, big endian, of SHA-256(previous ‖ event bytes). Zero before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(pub u64);

impl Chain {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// After one more event of these bytes.
    #[must_use]
    pub fn then(self, event: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        hash.update(event);
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// After all of these events.
    #[must_use]
    pub fn then_all<'a>(self, events: impl IntoIterator<Item = &'a [u8]>) -> Self {
        events.into_iter().fold(self, Self::then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_order_and_content() {
        let ab = Chain::START.then(b"a").then(b"b");
        assert_eq!(ab, Chain::START.then_all([b"a".as_slice(), b"b"]));
        assert_ne!(ab, Chain::START.then(b"b").then(b"a"));
        assert_ne!(ab, Chain::START.then(b"ab"));
    }
}
