//! The bus as one value: two connections and what is done over them.

use crate::config::BusConfig;
use crate::connection::Connection;
use crate::ensure;
use crate::fault::unavailable;
use crate::feed::Feed;
use crate::heal::Healer;
use crate::log::Log;
use crate::report::{self, StreamReport};
use crate::{api, limits, streams};
use bytes::Bytes;
use runmesh_domain::{Fault, Result};
use std::sync::Arc;
use tokio::sync::watch;

/// Everything that goes over NATS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    config: Arc<BusConfig>,
    requests: Connection,
    replays: Connection,
    log: Log,
    feed: Feed,
}

impl Bus {
    /// Connects and checks that the server can do what is needed. Replays have a connection of their own, so that a large
    /// one never delays an ack.
    ///
    /// # Errors
    /// `Unavailable` when no server answers; `Unusable` when it is too old or has no JetStream. Both are fatal at start.
    pub async fn connect(config: BusConfig) -> Result<Self> {
        let config = Arc::new(config);
        let healer = Healer::new(Arc::clone(&config));
        let requests = Connection::open(&config, healer.clone(), "requests", limits::SUBSCRIPTION).await?;
        check_server(&requests)?;
        let requests = requests.count_elections(&streams::STREAMS.map(|stream| stream.name)).await?;
        let replays = Connection::open(&config, healer, "replays", limits::REPLAY_SUBSCRIPTION).await?;
        let log = Log::new(requests.clone(), replays.clone());
        let feed = Feed::new(requests.clone());
        Ok(Self { config, requests, replays, log, feed })
    }

    /// Makes the streams that are missing, puts right what the mesh cannot work without, and makes larger what was chosen
    /// larger. Everything else about a stream stays as it is; what differs from the choices is logged.
    ///
    /// # Errors
    /// Fatal at start: `Unavailable` when the server does not answer; `Unusable`, with what to do, when a stream cannot be
    /// made or is one that the mesh cannot work with; `Internal` when the server drops a setting.
    pub async fn ensure(&self) -> Result<()> {
        ensure::streams(&self.requests, &self.config.streams).await
    }

    /// The streams as they are, and how they differ from the choices. Answers within seconds.
    ///
    /// # Errors
    /// `Unavailable` when a stream is missing, nobody leads it, or JetStream does not answer.
    pub async fn streams(&self) -> Result<Vec<StreamReport>> {
        report::of_all(&self.requests, &self.config.streams).await
    }

    /// The run log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The transition feed.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The version of the server, as it says it.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.requests.client().server_info().version
    }

    /// Whether both connections stand, as far as anybody knows.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.requests.is_up() && self.replays.is_up()
    }

    /// Changes at least once with every loss of the connection of requests and subscriptions, and with every election of a
    /// stream's leader; never later than something goes over a new connection. A tail that was read before a change is not to
    /// be appended to: the log may be another one.
    #[must_use]
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.requests.lost()
    }

    /// Changes with every new connection of requests and subscriptions, and with every election of a stream's leader: live
    /// subscriptions may have missed something.
    #[must_use]
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.requests.made()
    }

    pub(crate) const fn requests(&self) -> &Connection {
        &self.requests
    }

    /// Asks JetStream whether it is there.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn ping(&self) -> Result<()> {
        self.requests.ask("$JS.API.INFO".to_owned(), Bytes::new(), limits::REQUEST).await?;
        Ok(())
    }

    /// Counts the messages that were ever stored: in the run log, and in the transition feed.
    ///
    /// # Errors
    /// `Unavailable` when a stream is missing or JetStream does not answer.
    pub async fn stored(&self) -> Result<(u64, u64)> {
        let log = api::last_seq_of(&self.requests, streams::LOG.name).await?;
        let feed = api::last_seq_of(&self.requests, streams::TRANSITIONS.name).await?;
        Ok((log, feed))
    }

    /// Ends both connections after what was handed to them has been sent; waits for that at most one request time.
    pub async fn close(&self) {
        for connection in [&self.requests, &self.replays] {
            let closed = async {
                let _sent = connection.client().flush().await;
                connection.client().drain().await
            };
            if tokio::time::timeout(limits::REQUEST, closed).await.is_err() {
                tracing::debug!("a connection to NATS was not closed in time");
            }
        }
    }
}

fn check_server(connection: &Connection) -> Result<()> {
    let info = connection.client().server_info();
    let (major, minor) = limits::SERVER_VERSION_MIN;
    if version(&info.version).ok_or_else(|| unavailable(format!("nats-server says its version is {:?}", info.version)))?
        < (major, minor)
    {
        let problem = format!("nats-server {} is too old: runmesh needs {major}.{minor} or newer", info.version);
        return Err(Fault::unusable("nats", problem).into());
    }
    if !info.jetstream {
        return Err(Fault::unusable("nats", "this nats-server runs without JetStream: start it with --jetstream").into());
    }
    Ok(())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("2.15.1"), Some((2, 15)));
        assert!(version("2.9.25") < Some(crate::limits::SERVER_VERSION_MIN));
        assert!(version("v2.11.0-preview.1") >= Some(crate::limits::SERVER_VERSION_MIN));
        assert_eq!(version("x"), None);
    }
}
