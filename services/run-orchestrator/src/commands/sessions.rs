//! Worker sessions and their streams.

use runmesh_command::Command;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::WorkerCredential;
use runmesh_store::sessions::{self, NewSession, WorkerRow};
use runmesh_store::{Tx, runs};

/// Opens a session; answers the number of its first stream.
pub struct OpenSession {
    pub new: NewSession,
    pub leases: Leases,
}

impl Command for OpenSession {
    type Answer = i64;

    async fn run(&self, tx: &mut Tx) -> Result<i64> {
        sessions::open(tx, self.new.clone(), &self.leases).await
    }
}

/// Opens the next stream of a session; answers its number.
pub struct ReopenSession {
    pub session: SessionId,
    pub credential: WorkerCredential,
    pub leases: Leases,
}

impl Command for ReopenSession {
    type Answer = i64;

    async fn run(&self, tx: &mut Tx) -> Result<i64> {
        sessions::reopen(tx, self.session, &self.credential, &self.leases).await
    }
}

/// One open of a session's Claim stream.
#[derive(Debug, Clone, Copy)]
pub struct OpenStream {
    pub session: SessionId,
    pub number: i64,
}

/// Closes a session that its worker is done with, unless it has moved to a newer stream.
pub struct CloseSession(pub OpenStream);

impl Command for CloseSession {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        sessions::close(tx, self.0.session, self.0.number).await
    }
}

/// Cuts the lease of a session whose stream broke, unless it has moved to a newer stream.
pub struct CutLease(pub OpenStream);

impl Command for CutLease {
    type Answer = bool;

    async fn run(&self, tx: &mut Tx) -> Result<bool> {
        runs::cut(tx, self.0.session, self.0.number).await
    }
}

/// Keeps a session from being lost for a lock that is gone.
pub struct ForgetLock(pub OpenStream);

impl Command for ForgetLock {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        sessions::forget_lock(tx, self.0.session, self.0.number).await
    }
}

/// Reads the sessions that may serve an org, over all orgs.
pub struct ListSessions {
    pub org: OrgId,
    pub leases: Leases,
    pub limit: u32,
}

impl Command for ListSessions {
    type Answer = Vec<WorkerRow>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<WorkerRow>> {
        sessions::list(tx, self.org, &self.leases, self.limit).await
    }
}

/// Nothing: for a call that only wants to know whether the caller is a member.
pub struct Nothing;

impl Command for Nothing {
    type Answer = ();

    async fn run(&self, _tx: &mut Tx) -> Result<()> {
        Ok(())
    }
}
