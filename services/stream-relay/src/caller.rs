//! Who calls: the principal that the gateway established, checked against what the method wants.

use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_domain::{Refusal, Result};
use runmesh_host::signed::Verified;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::convert::required;
use runmesh_wire::pb::worker::Lease;
use tonic::Request;

fn principal<T>(request: &Request<T>) -> Result<&Principal> {
    let verified = request.extensions().get::<Verified<Principal>>();
    Ok(&verified.ok_or(Refusal::Unauthenticated { why: "the call carries no principal" })?.claims)
}

/// The person, and the org that they call for.
pub fn user<T>(request: &Request<T>) -> Result<(OrgId, UserId)> {
    match principal(request)? {
        Principal::User { org, user } => Ok((*org, *user)),
        Principal::Worker(_) | Principal::Lease(_) => Err(Refusal::PermissionDenied { why: "this method is for users" }.into()),
    }
}

/// The lease of the caller's run token.
pub fn lease<T>(request: &Request<T>) -> Result<LeaseClaim> {
    match principal(request)? {
        Principal::Lease(claim) => Ok(*claim),
        Principal::User { .. } | Principal::Worker(_) => {
            Err(Refusal::PermissionDenied { why: "this method wants the run token of an assignment" }.into())
        }
    }
}

/// The message must name the run and the attempt that the token does: what is written is written under the token's.
pub fn same_lease(claim: LeaseClaim, lease: Option<Lease>) -> Result<()> {
    let HeldRun { run, fence } = required("open.lease", lease)?.from_wire("open.lease")?;
    if run != claim.run {
        return Err(Refusal::TokenMismatch { what: "run" }.into());
    }
    if fence != claim.fence {
        return Err(Refusal::TokenMismatch { what: "fence" }.into());
    }
    Ok(())
}
