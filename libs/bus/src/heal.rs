//! A server that lost its streams gets them back: whoever meets a missing stream has them made, and tries again later.

use crate::config::BusConfig;
use crate::connection::Connection;
use crate::{ensure, limits};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Makes missing streams, at most once in a while however many callers miss them.
#[derive(Debug, Clone)]
pub struct Healer {
    config: Arc<BusConfig>,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Healer {
    /// With what the operator chose.
    pub fn new(config: Arc<BusConfig>) -> Self {
        Self { config, last: Arc::default() }
    }

    /// A stream seems to be missing. One caller at a time looks; the others go on at once and try again.
    pub async fn stream_is_missing(&self, connection: &Connection) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < limits::HEAL_PAUSE) || !connection.is_up() {
            return;
        }
        *last = Some(Instant::now());
        // Of a stream of one copy there is no election: that nobody takes its messages is the only sign that its server was
        // away, and it may come back with less.
        connection.lose();
        match timeout(limits::HEAL, ensure::missing(connection, &self.config.streams)).await {
            Ok(Ok(true)) => tracing::warn!("streams were missing and have been made again"),
            // They are there; the server that leads them is away for a moment.
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "streams seem to be missing and cannot be made"),
            Err(_) => tracing::warn!("streams seem to be missing, and NATS does not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests;
