//! The log of received model calls, for tests that check what a client really sent.
//!
//! Keeps the latest few hundred. A server started by `serve` keeps none: nobody could read them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use serde_json::Value;

/// Calls a log keeps.
pub(crate) const RECEIVED_MAX: usize = 256;

/// One received call of the model.
#[derive(Debug, Clone)]
pub struct Received {
    headers: HeaderMap,
    body: Value,
}

impl Received {
    /// The request body; null when it was not JSON.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The header `name` (in lower case), if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The latest received calls.
#[derive(Debug)]
pub(crate) struct ReceivedLog {
    latest: Mutex<VecDeque<Received>>,
    calls_max: usize,
}

impl ReceivedLog {
    /// A log that keeps the latest `calls_max` calls; none for 0.
    pub(crate) fn new(calls_max: usize) -> Self {
        Self { latest: Mutex::new(VecDeque::new()), calls_max }
    }

    /// Notes a call.
    pub(crate) fn push(&self, headers: &HeaderMap, body: &[u8]) {
        if self.calls_max == 0 {
            return;
        }
        let received = Received { headers: headers.clone(), body: serde_json::from_slice(body).unwrap_or(Value::Null) };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= self.calls_max {
            latest.pop_front();
        }
        latest.push_back(received);
    }

    /// The calls kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Received> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_calls_only() {
        let log = ReceivedLog::new(2);
        for body in ["1", "2", "not json"] {
            log.push(&HeaderMap::new(), body.as_bytes());
        }
        let bodies: Vec<Value> = log.all().iter().map(|call| call.body().clone()).collect();
        assert_eq!(bodies, [Value::from(2), Value::Null]);
    }

    #[test]
    fn a_log_of_nothing_stays_empty() {
        let log = ReceivedLog::new(0);
        log.push(&HeaderMap::new(), b"1");
        assert!(log.all().is_empty());
    }
}
