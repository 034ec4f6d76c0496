//! Who calls: the principal that the gateway established, checked here against what the method wants.

pub use runmesh_wire::caller::{Caller, Person};

use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_domain::{Refusal, Result};
use runmesh_host::signed::Verified;
use runmesh_store::Tx;
use runmesh_store::orgs::{self, MemberRole};
use runmesh_wire::caller as wire;
use runmesh_wire::pb::worker::Lease;
use tonic::Request;

fn principal<T>(request: &Request<T>) -> Option<&Principal> {
    request.extensions().get::<Verified<Principal>>().map(|verified| &verified.claims)
}

/// The person.
pub fn caller<T>(request: &Request<T>) -> Result<Caller> {
    Ok(wire::user(principal(request))?)
}

/// The person, for what concerns no one org.
pub fn person<T>(request: &Request<T>) -> Result<Person> {
    Ok(wire::person(principal(request))?)
}

/// The worker.
pub fn worker<T>(request: &Request<T>) -> Result<WorkerCredential> {
    Ok(wire::worker(principal(request))?)
}

/// The lease of the caller's token.
pub fn lease<T>(request: &Request<T>) -> Result<LeaseClaim> {
    Ok(wire::lease(principal(request))?)
}

/// The message must name the run and the attempt that the token does.
pub fn same_lease(claim: LeaseClaim, lease: Option<Lease>) -> Result<LeaseClaim> {
    Ok(wire::same_lease(claim, "", lease)?)
}

/// Refuses a caller who does not belong to the org: to them it does not exist.
pub async fn require_member(tx: &mut Tx, caller: Caller) -> Result<()> {
    match orgs::role(tx, caller.org, caller.user).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::NotFound { what: "org" }.into()),
    }
}

/// Refuses a caller who is no admin of the org.
pub async fn require_admin(tx: &mut Tx, caller: Caller) -> Result<()> {
    match orgs::role(tx, caller.org, caller.user).await? {
        Some(MemberRole::Admin) => Ok(()),
        Some(MemberRole::Member) => Err(Refusal::PermissionDenied { why: "only admins of the org may do this" }.into()),
        None => Err(Refusal::NotFound { what: "org" }.into()),
    }
}
