//! Who calls: the principal that the gateway established, checked here against what the method wants.

use runmesh_command::{Caller, Person};
use runmesh_domain::Result;
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_host::signed::Verified;
use runmesh_wire::caller as wire;
use runmesh_wire::pb::worker::Lease;
use tonic::Request;

fn principal<T>(request: &Request<T>) -> Option<&Principal> {
    Verified::of(request.extensions())
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
