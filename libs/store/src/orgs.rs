//! Orgs and who belongs to them.
//!
//! A deleted org keeps its row and loses its members. So whoever checks membership, which every way to an org's things does,
//! finds nobody there, and no other table needs to be looked at (T1).

mod life;
mod members;

pub use life::{NewOrg, OrgChange, create, delete, ensure, update};
pub use members::{list_members, list_of, members_among, put_member, remove_member};

use crate::columns::{At, bad_row, small};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::limits::OrgLimits;
use runmesh_domain::{Fault, Refusal, Result, Timestamp};
use uuid::Uuid;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, unique in the mesh.
    pub name: String,
    /// What people call it; may be empty.
    pub display_name: String,
    /// Bounds of its own.
    pub limits: OrgLimits,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A person's place in an org.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The person.
    pub user: UserId,
    /// What they may do.
    pub role: MemberRole,
    /// When they joined.
    pub created_at: Timestamp,
}

/// What a member may do. Stored by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// Reads, opens threads, sends.
    Member,
    /// And changes agents, members and other people's threads.
    Admin,
}

impl MemberRole {
    /// The stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// The role of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

macro_rules! org_columns {
    () => {
        "o.id, o.name, o.display_name, o.running_per_user_max, o.running_per_org_max, o.created_at"
    };
}
pub(crate) use org_columns;

#[derive(sqlx::FromRow)]
struct OrgRow {
    id: Uuid,
    name: String,
    display_name: String,
    running_per_user_max: Option<i32>,
    running_per_org_max: Option<i32>,
    created_at: At,
}

impl OrgRow {
    fn read(self) -> Org {
        Org {
            id: OrgId::from_uuid(self.id),
            name: self.name,
            display_name: self.display_name,
            limits: OrgLimits {
                running_per_user_max: self.running_per_user_max.map(small),
                running_per_org_max: self.running_per_org_max.map(small),
            },
            created_at: self.created_at.0,
        }
    }
}

const GET: &str = concat!("SELECT ", org_columns!(), " FROM orgs o WHERE o.id = $1 AND o.deleted_at IS NULL");

#[derive(sqlx::FromRow)]
struct MemberRow {
    user_id: Uuid,
    role: String,
    created_at: At,
}

impl MemberRow {
    fn read(self) -> Result<Member, Fault> {
        let user = UserId::from_uuid(self.user_id);
        let role = MemberRole::from_name(&self.role).ok_or_else(|| bad_row("members", "role", user, &self.role))?;
        Ok(Member { user, role, created_at: self.created_at.0 })
    }
}

/// An org.
///
/// # Errors
/// [`Refusal::NotFound`], for a deleted one too.
pub async fn get(tx: &mut Tx, org: OrgId) -> Result<Org> {
    let row: Option<OrgRow> = sqlx::query_as(GET).bind(org.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(Refusal::NotFound { what: "org" })?.read())
}

/// A person's place in an org; nothing for somebody who is not in it.
///
/// # Errors
/// [`Fault`] only.
pub async fn member(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Option<Member>> {
    let query = "SELECT user_id, role, created_at FROM members WHERE org_id = $1 AND user_id = $2";
    let query = sqlx::query_as(query).bind(org.uuid()).bind(user.uuid());
    let row: Option<MemberRow> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(MemberRow::read).transpose()?)
}

/// What a person may do in an org; nothing for somebody who is not in it.
///
/// # Errors
/// [`Fault`] only.
pub async fn role(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Option<MemberRole>> {
    Ok(member(tx, org, user).await?.map(|member| member.role))
}

pub(crate) async fn is_admin(tx: &mut Tx, org: OrgId, user: UserId) -> Result<bool> {
    Ok(role(tx, org, user).await? == Some(MemberRole::Admin))
}
