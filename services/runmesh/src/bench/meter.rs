//! What the engines have counted, before and after.

use super::failed;
use crate::failure::Failure;
use runmesh_bus::Bus;
use runmesh_store::probe;

/// Reads the counters of both engines.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    pub(super) bus: Bus,
    pub(super) postgres_url: String,
}

/// What was counted up to a moment, or between two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// Transactions that ended, also those that only read.
    pub(super) transactions: f64,
    /// Transactions that wrote.
    pub(super) written: f64,
    /// Messages of the run log.
    pub(super) log: f64,
    /// Messages of the transition feed.
    pub(super) feed: f64,
}

impl Meter {
    /// The counters now.
    pub(super) async fn read(&self) -> Result<Counted, Failure> {
        let counters = probe::counters(&self.postgres_url).await.map_err(|error| failed("counters of postgres", error))?;
        let (log, feed) = self.bus.stored().await.map_err(|error| failed("counters of nats", error))?;
        Ok(Counted {
            transactions: counters.transactions as f64,
            written: counters.written as f64,
            log: log as f64,
            feed: feed as f64,
        })
    }
}

impl Counted {
    /// What was counted after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            transactions: self.transactions - before.transactions,
            written: self.written - before.written,
            log: self.log - before.log,
            feed: self.feed - before.feed,
        }
    }
}
