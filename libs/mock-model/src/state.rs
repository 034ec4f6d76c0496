//! What the requests of one server share: counters, the log of calls, the effects of tools.
//!
//! Everything in it is bounded, and every lock is held for a look-up only.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::attempts::Attempts;
use crate::received::ReceivedLog;
use crate::tools::Effects;

/// The state of one server.
#[derive(Debug)]
pub(crate) struct Shared {
    calls: AtomicU64,
    tool_call_ids: AtomicU64,
    /// The calls of messages with faults.
    pub(crate) attempts: Attempts,
    /// The latest model calls.
    pub(crate) received: ReceivedLog,
    /// The calls of the tool target.
    pub(crate) effects: Effects,
}

impl Shared {
    /// A fresh server that keeps the latest `received_max` model calls.
    pub(crate) fn new(received_max: usize) -> Self {
        Self {
            calls: AtomicU64::new(0),
            tool_call_ids: AtomicU64::new(0),
            attempts: Attempts::new(),
            received: ReceivedLog::new(received_max),
            effects: Effects::new(),
        }
    }

    /// Counts a model call and returns its number, from 1.
    pub(crate) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the next tool call, from 1.
    pub(crate) fn next_tool_call_id(&self) -> u64 {
        self.tool_call_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Model calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}
