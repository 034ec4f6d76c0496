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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use futures::FutureExt as _;
    use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};

    #[tokio::test]
    async fn nobody_waits_for_somebody_elses_repair() {
        let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
        let config = Arc::new(BusConfig::new(nats.url(), "test"));
        let healer = Healer::new(Arc::clone(&config));
        let connection = Connection::open(&config, healer.clone(), "test", limits::SUBSCRIPTION).await.unwrap();
        let repairing = healer.last.lock().await;
        assert!(healer.stream_is_missing(&connection).now_or_never().is_some());
        drop(repairing);
        let lost = connection.lost();
        healer.stream_is_missing(&connection).await;
        assert!(lost.has_changed().unwrap(), "what was read of the missing stream is worth nothing");
        assert!(!ensure::missing(&connection, &config.streams).await.unwrap(), "they were made");
    }
}
