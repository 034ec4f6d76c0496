//! Whether a caller belongs to the org that they call for, and what they are there. Which principal a call carries is the host's
//! to say, and what a principal may stand for is the wire's.

use runmesh_domain::{Refusal, Result};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_store::{Command, Tx};
use runmesh_wire::caller::Caller;

/// Refuses a caller who is not a member of the org: to them it does not exist.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn require_member(tx: &mut Tx, caller: Caller) -> Result<()> {
    match orgs::role(tx, caller.org, caller.user).await? {
        Some(MemberRole::Admin | MemberRole::Member) => Ok(()),
        None => Err(Refusal::NotFound { what: "org" }.into()),
    }
}

/// Refuses a caller who is not an admin of the org.
///
/// # Errors
/// [`Refusal::PermissionDenied`] for another member, [`Refusal::NotFound`] for everybody else.
pub async fn require_admin(tx: &mut Tx, caller: Caller) -> Result<()> {
    match orgs::role(tx, caller.org, caller.user).await? {
        Some(MemberRole::Admin) => Ok(()),
        Some(MemberRole::Member) => Err(Refusal::PermissionDenied { why: "only admins of the org may do this" }.into()),
        None => Err(Refusal::NotFound { what: "org" }.into()),
    }
}

/// A command for members of the org only; see [`require_member`].
#[derive(Debug, Clone, Copy)]
pub struct MemberOnly<C> {
    /// Who calls.
    pub caller: Caller,
    /// What they want.
    pub command: C,
}

impl<C: Command> Command for MemberOnly<C> {
    type Answer = C::Answer;

    fn name() -> &'static str {
        C::name()
    }

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        require_member(tx, self.caller).await?;
        self.command.run(tx).await
    }
}

/// A command for admins of the org only; see [`require_admin`].
#[derive(Debug, Clone, Copy)]
pub struct AdminOnly<C> {
    /// Who calls.
    pub caller: Caller,
    /// What they want.
    pub command: C,
}

impl<C: Command> Command for AdminOnly<C> {
    type Answer = C::Answer;

    fn name() -> &'static str {
        C::name()
    }

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        require_admin(tx, self.caller).await?;
        self.command.run(tx).await
    }
}
