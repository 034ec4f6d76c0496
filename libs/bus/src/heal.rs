//! A server that lost its streams gets them back: whoever meets a missing stream has them made, and tries again later.

use crate::config::BusConfig;
use crate::connection::Connection;
use crate::{ensure, limits};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

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

    /// A stream is missing. Returns when somebody has tried to make it.
    pub async fn stream_is_missing(&self, connection: &Connection) {
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last.elapsed() < limits::HEAL_PAUSE) || !connection.is_up() {
            return;
        }
        *last = Some(Instant::now());
        match ensure::streams(connection.client(), &self.config).await {
            Ok(()) => tracing::warn!("streams were missing and have been made again"),
            Err(error) => tracing::warn!(%error, "streams are missing and cannot be made"),
        }
    }
}
