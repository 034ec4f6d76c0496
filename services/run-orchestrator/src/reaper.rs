//! Takes back runs whose holders lost their leases.

use runmesh_command::{AfterCommit, Publisher};
use runmesh_domain::Result;
use runmesh_domain::limits::Leases;
use runmesh_store::runs::Reaped;
use runmesh_store::{Db, runs};
use std::time::Duration;

/// Runs of one transaction.
const BATCH: u32 = 200;
/// What the reaper leaves of the lease of a process that is gone, and a little more.
const GONE_LEASE: Duration = Duration::from_millis(270);

/// Takes runs back and publishes it. Clones share everything.
#[derive(Clone)]
pub struct Reaper {
    pub db: Db,
    pub publisher: Publisher,
    pub leases: Leases,
}

impl Reaper {
    /// Takes back the runs whose leases are over, batch after batch until one takes nothing: a batch that is not full may only have met
    /// another replica. Nothing in a moment in which the database's clock cannot be trusted: the next tick will see.
    pub async fn reap(&self) -> Result<()> {
        while let Some(reaped) = runs::reap(&self.db, &self.leases, BATCH).await? {
            if reaped.is_empty() {
                break;
            }
            self.publish_lost(reaped);
        }
        Ok(())
    }

    /// Takes back the runs whose workers get nowhere with them.
    pub async fn reap_hung(&self) -> Result<()> {
        let reaped = runs::reap_hung(&self.db, &self.leases, BATCH).await?;
        for (run, _) in &reaped {
            tracing::warn!(%run, "a worker hung: it did not end a canceled run, or journaled nothing for too long");
        }
        self.publish_lost(reaped);
        Ok(())
    }

    /// Takes back the runs of sessions that are not there.
    pub async fn reap_orphans(&self) -> Result<()> {
        let reaped = runs::reap_orphans(&self.db, &self.leases, BATCH).await?;
        for (run, _) in &reaped {
            tracing::warn!(%run, "a run belonged to a session that is not there");
        }
        self.publish_lost(reaped);
        Ok(())
    }

    fn publish_lost(&self, reaped: Reaped) {
        for (run, committed) in reaped {
            tracing::info!(%run, "lease lost");
            self.publisher.publish(AfterCommit::of(committed));
        }
    }

    /// Takes back the runs of processes that were just found to be gone: they are free a moment after that.
    pub async fn reap_gone(&self) -> Result<()> {
        tokio::time::sleep(GONE_LEASE).await;
        self.reap().await
    }
}
