//! What time brings, found and done over all orgs.

use crate::founding::Founding;
use runmesh_command::{Command, OWN_TIME};
use runmesh_domain::Result;
use runmesh_domain::limits::Leases;
use runmesh_store::maintenance::{self, Due};
use runmesh_store::runs::{self, Committed, FreeThreadsFrom, UnservedFrom};
use runmesh_store::{Tx, actions};
use std::sync::Arc;
use std::time::Duration;

/// Looks for what is due.
pub struct FindDue {
    pub leases: Leases,
}

impl Command for FindDue {
    type Answer = Due;

    async fn run(&self, tx: &mut Tx) -> Result<Due> {
        maintenance::due(tx, &self.leases, OWN_TIME).await
    }
}

/// Promotes the next run of threads that are free while turns wait on them; answers where the next look begins.
pub struct PromoteFreeThreads {
    pub from: FreeThreadsFrom,
    pub limit: u32,
}

impl Command for PromoteFreeThreads {
    type Answer = (Vec<Committed>, FreeThreadsFrom);

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        runs::promote_free_threads(tx, self.from, self.limit).await
    }
}

/// Ends the wait for people who did not decide in time.
pub struct ExpireActions {
    pub limit: u32,
}

impl Command for ExpireActions {
    type Answer = Vec<Committed>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<Committed>> {
        actions::expire_due(tx, self.limit).await
    }
}

/// Ends runs that nobody serves; answers where the next look begins.
pub struct FailUnserved {
    pub older: Duration,
    pub from: UnservedFrom,
    pub limit: u32,
}

impl Command for FailUnserved {
    type Answer = (Vec<Committed>, UnservedFrom);

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        runs::fail_unserved(tx, self.older, self.from, self.limit).await
    }
}

/// Counts the runs that were set aside and are not over, up to a bound.
pub struct CountAside {
    pub most: u32,
}

impl Command for CountAside {
    type Answer = u64;

    async fn run(&self, tx: &mut Tx) -> Result<u64> {
        runs::count_aside(tx, self.most).await
    }
}

/// Counts row versions of runs that vacuum could not remove.
pub struct CountDeadRows;

impl Command for CountDeadRows {
    type Answer = u64;

    async fn run(&self, tx: &mut Tx) -> Result<u64> {
        runs::count_dead_rows(tx).await
    }
}

/// Makes an org that the settings name.
pub struct SettleOrg {
    pub founding: Arc<Founding>,
    pub name: String,
}

impl Command for SettleOrg {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        self.founding.settle(tx, &self.name).await
    }
}
