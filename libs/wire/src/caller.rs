//! Who calls, checked against what a method wants. The principal is the one that the gateway established and signed.

use crate::FromWire as _;
use crate::convert::journal::HeldRun;
use crate::convert::{join, required};
use crate::pb::worker::Lease;
use runmesh_domain::Refusal;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};

/// A person calling for one org.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The org.
    pub org: OrgId,
    /// The person.
    pub user: UserId,
}

/// A person, whichever org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The person.
    pub user: UserId,
    /// The orgs that the credentials are for; every org of the person when absent.
    pub orgs: Option<Vec<OrgId>>,
}

fn present(principal: Option<&Principal>) -> Result<&Principal, Refusal> {
    principal.ok_or(Refusal::Unauthenticated { why: "the call carries no principal" })
}

/// The person.
///
/// # Errors
/// [`Refusal::Unauthenticated`] without a principal, [`Refusal::PermissionDenied`] for another kind.
pub fn user(principal: Option<&Principal>) -> Result<Caller, Refusal> {
    match present(principal)? {
        Principal::User { org, user } => Ok(Caller { org: *org, user: *user }),
        Principal::Person { .. } => Err(Refusal::PermissionDenied { why: "this method is for one org" }),
        Principal::Worker(_) | Principal::Lease(_) => Err(Refusal::PermissionDenied { why: "this method is for users" }),
    }
}

/// The person, for a method that concerns no one org.
///
/// # Errors
/// As [`user`].
pub fn person(principal: Option<&Principal>) -> Result<Person, Refusal> {
    match present(principal)? {
        Principal::Person { user, orgs } => Ok(Person { user: *user, orgs: orgs.clone() }),
        Principal::User { .. } | Principal::Worker(_) | Principal::Lease(_) => {
            Err(Refusal::PermissionDenied { why: "this method is for people" })
        }
    }
}

/// The worker.
///
/// # Errors
/// As [`user`].
pub fn worker(principal: Option<&Principal>) -> Result<WorkerCredential, Refusal> {
    match present(principal)? {
        Principal::Worker(credential) => Ok(credential.clone()),
        Principal::User { .. } | Principal::Person { .. } | Principal::Lease(_) => {
            Err(Refusal::PermissionDenied { why: "this method is for workers" })
        }
    }
}

/// The lease of the caller's run token.
///
/// # Errors
/// As [`user`].
pub fn lease(principal: Option<&Principal>) -> Result<LeaseClaim, Refusal> {
    match present(principal)? {
        Principal::Lease(claim) => Ok(*claim),
        Principal::User { .. } | Principal::Person { .. } | Principal::Worker(_) => {
            Err(Refusal::PermissionDenied { why: "this method wants the run token of an assignment" })
        }
    }
}

/// The message must name the run and the attempt that the token does: what is written is written under the token's. `path` is
/// where the lease stands in the message.
///
/// # Errors
/// [`Refusal::TokenMismatch`], or [`Refusal::InvalidField`] for a lease that is none.
pub fn same_lease(claim: LeaseClaim, path: &str, lease: Option<Lease>) -> Result<LeaseClaim, Refusal> {
    let field = join(path, "lease");
    let HeldRun { run, fence } = required(&field, lease)?.from_wire(&field)?;
    if run != claim.run {
        return Err(Refusal::TokenMismatch { what: "run" });
    }
    if fence != claim.fence {
        return Err(Refusal::TokenMismatch { what: "fence" });
    }
    Ok(claim)
}
