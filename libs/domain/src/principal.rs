//! Who makes a call, as the gateway established it and the services trust it.

use crate::id::{AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use serde::{Deserialize, Serialize};

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Principal {
    /// A person, in one org.
    User {
        /// The org that the call is for.
        org: OrgId,
        /// The person.
        user: UserId,
    },
    /// A worker process.
    Worker(WorkerCredential),
    /// The holder of a lease.
    Lease(LeaseClaim),
}

/// What a worker may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCredential {
    /// Names the credential; sessions are bound to it.
    pub id: String,
    /// The orgs; every org when absent.
    #[serde(default)]
    pub orgs: Option<Vec<OrgId>>,
    /// The agents; every agent when absent.
    #[serde(default)]
    pub agents: Option<Vec<AgentId>>,
}

/// The right that a run token grants: calls of one attempt of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseClaim {
    /// The org.
    pub org: OrgId,
    /// The thread.
    pub thread: ThreadId,
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub fence: u64,
    /// The session that the lease belongs to.
    pub session: SessionId,
}
