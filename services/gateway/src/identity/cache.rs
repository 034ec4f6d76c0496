//! Remembers for a short time who showed which credentials, so that signatures are not paid for on every call. Holds digests,
//! never tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Credentials, Established};

/// How long an answer is used: far below the life of the principal in it, so that what is sent on always has time left.
const FRESH: Duration = Duration::from_secs(20);
/// Credentials remembered: about 10 MiB.
const ENTRIES_MAX: usize = 16_384;

/// What tells credentials apart.
pub(super) type Key = [u8; 32];

/// The digest of everything that an identity follows from.
pub(super) fn key(given: &Credentials<'_>) -> Key {
    let Credentials { caller, bearer, org, is_local: _ } = given;
    let mut hash = Sha256::new();
    hash.update([*caller as u8]);
    for part in [bearer, org] {
        // Present and empty must not look like absent.
        hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    hash.finalize().into()
}

#[derive(Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    who: Arc<Established>,
    until: Instant,
}

impl Cache {
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Arc<Established>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|entry| entry.until > now).map(|entry| Arc::clone(&entry.who))
    }

    /// Remembers `who`, no longer than its credentials have `left`.
    pub(super) fn put(&self, key: Key, who: Arc<Established>, now: Instant, left: Option<Duration>) {
        let until = now + left.unwrap_or(FRESH).min(FRESH);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| entry.until > now);
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(key, Entry { who, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::Caller;

    #[test]
    fn whatever_makes_another_identity_makes_another_key() {
        let base = Credentials { caller: Caller::User, bearer: Some("t"), org: None, is_local: false };
        let others = [
            Credentials { caller: Caller::Worker, ..base },
            Credentials { bearer: Some("u"), ..base },
            Credentials { bearer: None, ..base },
            Credentials { bearer: Some(""), ..base },
            Credentials { org: Some("o"), ..base },
            Credentials { org: Some(""), ..base },
            Credentials { bearer: Some("to"), org: Some(""), ..base },
            Credentials { bearer: Some("t"), org: Some("o"), caller: Caller::Lease, is_local: false },
        ];
        let mut keys: Vec<_> = others.iter().chain([&base]).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }
}
