//! Who makes a call, as the gateway established it and the services trust it.

use crate::canonical::Sha256Digest;
use crate::error::Refusal;
use crate::id::{AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// A person, in no org in particular: for what concerns the person, or all their orgs.
    Person {
        /// The person.
        user: UserId,
        /// The orgs that the credentials let the person act in; every one that they are a member of when absent.
        #[serde(default)]
        orgs: Option<Vec<OrgId>>,
    },
    /// A worker process.
    Worker(WorkerCredential),
    /// The holder of a lease.
    Lease(LeaseClaim),
}

/// What a worker may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCredential {
    /// Names the credential, for people. Two credentials may bear one name: see [`WorkerCredential::digest`].
    pub id: String,
    /// The orgs; every org when absent.
    #[serde(default)]
    pub orgs: Option<Vec<OrgId>>,
    /// The agents; every agent when absent.
    #[serde(default)]
    pub agents: Option<Vec<AgentId>>,
}

impl WorkerCredential {
    /// The name of the credential of the worker inside a replica, which no other may bear: the lock of a session of this name
    /// is taken for the life of the process that serves its stream, and whoever bore it could speak for such sessions.
    pub const BUILT_IN: &'static str = "built-in";

    /// What worker sessions are bound to: the whole credential. A name alone would let a credential for one org take the session,
    /// and with it the runs, of a credential of the same name for another (T1). The order of orgs and agents says nothing.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        fn sorted<T: ToString>(ids: Option<&[T]>) -> Option<BTreeSet<String>> {
            ids.map(|ids| ids.iter().map(ToString::to_string).collect())
        }
        let Self { id, orgs, agents } = self;
        let whole = serde_json::json!(["worker_credential", id, sorted(orgs.as_deref()), sorted(agents.as_deref())]);
        Sha256Digest::of(whole.to_string().as_bytes())
    }

    /// Refuses a credential of a worker elsewhere that bears the name of the one inside a replica.
    ///
    /// # Errors
    /// [`Refusal::PermissionDenied`].
    pub fn check_elsewhere(&self) -> Result<(), Refusal> {
        match self.id.as_str() {
            Self::BUILT_IN => Err(Refusal::PermissionDenied {
                why: "the credential is called built-in, as that of the mesh's own workers; sign one of another name",
            }),
            _ => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_is_built_in() {
        let named = |id: &str| WorkerCredential { id: id.into(), orgs: None, agents: None };
        assert!(named(WorkerCredential::BUILT_IN).check_elsewhere().is_err());
        assert_eq!(named("external").check_elsewhere(), Ok(()));
    }

    #[test]
    fn a_digest_is_of_the_whole_credential_and_not_of_its_order() {
        let (acme, globex) = (OrgId::of_name("acme"), OrgId::of_name("globex"));
        let of = |id: &str, orgs: Option<&[OrgId]>, agents: Option<&[AgentId]>| {
            WorkerCredential { id: id.into(), orgs: orgs.map(<[_]>::to_vec), agents: agents.map(<[_]>::to_vec) }.digest()
        };
        let agent = AgentId::from_uuid(acme.uuid());
        let both = of("w", Some(&[acme, globex]), None);
        assert_eq!(both, of("w", Some(&[globex, acme, globex]), None));
        let others = [
            of("x", Some(&[acme, globex]), None),
            of("w", Some(&[globex]), None),
            of("w", Some(&[]), None),
            of("w", None, None),
            of("w", Some(&[acme, globex]), Some(&[])),
            of("w", Some(&[acme, globex]), Some(&[agent])),
        ];
        let distinct: BTreeSet<String> = others.iter().chain([&both]).map(Sha256Digest::hex).collect();
        assert_eq!(distinct.len(), others.len() + 1);
    }
}
