//! Who calls: the principal that the gateway established, checked here against what the method wants.

use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_domain::{Refusal, Result};
use runmesh_host::signed::Verified;
use runmesh_store::Tx;
use runmesh_store::orgs::{self, MemberRole};
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::convert::required;
use runmesh_wire::pb::worker::Lease;
use tonic::Request;

/// A person calling for one org.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub org: OrgId,
    pub user: UserId,
}

fn principal<T>(request: &Request<T>) -> Result<&Principal> {
    let verified = request.extensions().get::<Verified<Principal>>();
    Ok(&verified.ok_or(Refusal::Unauthenticated { why: "the call carries no principal" })?.claims)
}

/// The person.
pub fn caller<T>(request: &Request<T>) -> Result<Caller> {
    match principal(request)? {
        Principal::User { org, user } => Ok(Caller { org: *org, user: *user }),
        Principal::Worker(_) | Principal::Lease(_) => Err(Refusal::PermissionDenied { why: "this method is for users" }.into()),
    }
}

/// The worker.
pub fn worker<T>(request: &Request<T>) -> Result<WorkerCredential> {
    match principal(request)? {
        Principal::Worker(credential) => Ok(credential.clone()),
        Principal::User { .. } | Principal::Lease(_) => {
            Err(Refusal::PermissionDenied { why: "this method is for workers" }.into())
        }
    }
}

/// The lease of the caller's token.
pub fn lease<T>(request: &Request<T>) -> Result<LeaseClaim> {
    match principal(request)? {
        Principal::Lease(claim) => Ok(*claim),
        Principal::User { .. } | Principal::Worker(_) => {
            Err(Refusal::PermissionDenied { why: "this method wants the run token of an assignment" }.into())
        }
    }
}

/// The message must name the run and the attempt that the token does.
pub fn same_lease(claim: LeaseClaim, lease: Option<Lease>) -> Result<LeaseClaim> {
    let HeldRun { run, fence } = required("lease", lease)?.from_wire("lease")?;
    if run != claim.run {
        return Err(Refusal::TokenMismatch { what: "run" }.into());
    }
    if fence != claim.fence {
        return Err(Refusal::TokenMismatch { what: "fence" }.into());
    }
    Ok(claim)
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
