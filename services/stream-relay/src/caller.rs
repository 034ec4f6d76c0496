//! Who calls: the principal that the gateway established, checked against what the method wants.

use crate::limits;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_domain::{Refusal, Result};
use runmesh_host::signed::Verified;
use runmesh_wire::caller::{self, Caller};
use runmesh_wire::pb::worker::Lease;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tonic::Request;

fn verified<T>(request: &Request<T>) -> Result<&Verified<Principal>> {
    let verified = request.extensions().get::<Verified<Principal>>();
    Ok(verified.ok_or(Refusal::Unauthenticated { why: "the call carries no principal" })?)
}

/// The moment of this process's clock that is `expires_at`, seconds of Unix time; at most some years from now.
fn until(expires_at: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + Duration::from_secs(expires_at).saturating_sub(now).min(limits::STREAM_MAX)
}

/// A person who follows something.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// The org that they call for.
    pub org: OrgId,
    /// Who it is.
    pub user: UserId,
    /// When their credentials end, and with them the stream.
    pub until: Instant,
}

/// The person who calls.
pub fn person<T>(request: &Request<T>) -> Result<Person> {
    let Verified { claims, expires_at } = verified(request)?;
    let Caller { org, user } = caller::user(Some(claims))?;
    Ok(Person { org, user, until: until(*expires_at) })
}

/// The lease of the caller's run token.
pub fn lease<T>(request: &Request<T>) -> Result<LeaseClaim> {
    Ok(caller::lease(Some(&verified(request)?.claims))?)
}

/// The message must name the run and the attempt that the token does: what is written is written under the token's.
pub fn same_lease(claim: LeaseClaim, lease: Option<Lease>) -> Result<()> {
    caller::same_lease(claim, "open", lease)?;
    Ok(())
}
