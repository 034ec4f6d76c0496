//! Orgs and their members.

use crate::founding::Founding;
use runmesh_command::{AfterCommit, Command, Done};
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_store::orgs::{self, Member, MemberRole, NewOrg, Org, OrgChange};
use runmesh_store::{Page, PageRequest, Tx};
use std::sync::Arc;

/// Reads an org, and what a person is in it.
pub struct GetOrg {
    pub org: OrgId,
    pub user: UserId,
}

impl Command for GetOrg {
    type Answer = (Org, Option<Member>);

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let org = orgs::get(tx, self.org).await?;
        Ok((org, orgs::member(tx, self.org, self.user).await?))
    }
}

/// Creates an org with its first admin and its agent.
pub struct CreateOrg {
    pub founding: Arc<Founding>,
    pub new: NewOrg,
    pub admin: UserId,
}

impl Command for CreateOrg {
    type Answer = Done<(Org, Option<Member>)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let org = self.founding.found(tx, &self.new, self.admin).await?;
        let member = orgs::member(tx, org.id, self.admin).await?;
        Ok(Done::quiet((org, member)))
    }
}

/// Reads a page of a person's orgs, with what they are there.
pub struct ListOrgs {
    pub user: UserId,
    /// Only these orgs, when present.
    pub among: Option<Vec<OrgId>>,
    pub page: PageRequest,
}

impl Command for ListOrgs {
    type Answer = Page<(Org, Member)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        orgs::list_of(tx, self.user, self.among.as_deref(), &self.page).await
    }
}

/// Changes an org's name for people, or its limits.
pub struct UpdateOrg {
    pub org: OrgId,
    pub change: OrgChange,
}

impl Command for UpdateOrg {
    type Answer = Done<Org>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(orgs::update(tx, self.org, &self.change).await?))
    }
}

/// Deletes an org.
pub struct DeleteOrg {
    pub org: OrgId,
}

impl Command for DeleteOrg {
    type Answer = Done<()>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        orgs::delete(tx, self.org).await?;
        Ok(Done::with((), AfterCommit::lost_members(self.org)))
    }
}

/// Reads a page of an org's members.
pub struct ListMembers {
    pub org: OrgId,
    pub page: PageRequest,
}

impl Command for ListMembers {
    type Answer = Page<Member>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        orgs::list_members(tx, self.org, &self.page).await
    }
}

/// Makes a person a member, or gives a member another role.
pub struct PutMember {
    pub org: OrgId,
    pub user: UserId,
    pub role: MemberRole,
}

impl Command for PutMember {
    type Answer = Done<Member>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(orgs::put_member(tx, self.org, self.user, self.role).await?))
    }
}

/// Ends a membership.
pub struct RemoveMember {
    pub org: OrgId,
    pub user: UserId,
}

impl Command for RemoveMember {
    type Answer = Done<()>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        orgs::remove_member(tx, self.org, self.user).await?;
        Ok(Done::with((), AfterCommit::lost_members(self.org)))
    }
}
