//! Counts the calls of each message that carries faults, so that a fault can be for its first call only.
//!
//! Remembers a bounded number of messages, the oldest forgotten first; it never sees messages without faults.

use std::sync::{Mutex, PoisonError};

use crate::counts::Counts;

/// Messages with faults that may be retried at the same time.
const MESSAGES_MAX: usize = 4096;

/// The calls of each message so far.
#[derive(Debug)]
pub(crate) struct Attempts(Mutex<Counts<u64>>);

impl Attempts {
    /// No calls yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Counts::new(MESSAGES_MAX)))
    }

    /// Counts a call of the message with `key` and returns its number, from 0.
    pub(crate) fn next(&self, key: u64) -> usize {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(counts.add(key) - 1).unwrap_or(usize::MAX)
    }
}
