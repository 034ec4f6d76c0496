//! The effect sink: how many tool calls arrived under each idempotency key.
//!
//! Remembers a bounded number of keys, the oldest forgotten first; the total counts them all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::counts::Counts;

/// Keys remembered: more than the longest fault test makes.
const KEYS_MAX: usize = 65_536;

/// The calls of the tool target.
#[derive(Debug)]
pub(crate) struct Effects {
    total: AtomicU64,
    by_key: Mutex<Counts<String>>,
}

impl Effects {
    /// No calls yet.
    pub(crate) fn new() -> Self {
        Self { total: AtomicU64::new(0), by_key: Mutex::new(Counts::new(KEYS_MAX)) }
    }

    /// Counts a call under `key` and returns the calls under it so far. The empty key stands for none: its calls are
    /// counted like one key's.
    pub(crate) fn add(&self, key: &str) -> u64 {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.counts().add(key.to_owned())
    }

    /// The calls under `key`.
    pub(crate) fn of(&self, key: &str) -> u64 {
        self.counts().get(&key.to_owned())
    }

    /// All calls.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The number of keys, and the most calls any of them had.
    pub(crate) fn keys_and_most(&self) -> (usize, u64) {
        let counts = self.counts();
        (counts.keys(), counts.highest())
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts<String>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
