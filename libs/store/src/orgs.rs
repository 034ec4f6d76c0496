//! Orgs and who belongs to them.

use crate::columns::{At, bad_row};
use crate::error::sql;
use crate::page::{Page, PageRequest};
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Fault, Refusal, Result, Timestamp};
use uuid::Uuid;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, unique in the mesh.
    pub name: String,
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

/// Makes an org when it is not there, and its admin when one is named. Scope System.
///
/// # Errors
/// [`Refusal::NameTaken`] when another org bears the name.
pub async fn ensure(tx: &mut Tx, org: OrgId, name: &str, admin: Option<UserId>) -> Result<()> {
    let query = "INSERT INTO orgs (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(query).bind(org.uuid()).bind(name.to_owned()).execute(tx.connection()).await.map_err(sql)?;
    let query = "SELECT id FROM orgs WHERE name = $1";
    let holder: Option<Uuid> =
        sqlx::query_scalar(query).bind(name.to_owned()).fetch_optional(tx.connection()).await.map_err(sql)?;
    if holder.is_some_and(|holder| holder != org.uuid()) {
        return Err(Refusal::NameTaken { what: "org" }.into());
    }
    if let Some(admin) = admin {
        let query = "INSERT INTO members (org_id, user_id, role) VALUES ($1, $2, 'admin') ON CONFLICT DO NOTHING";
        sqlx::query(query).bind(org.uuid()).bind(admin.uuid()).execute(tx.connection()).await.map_err(sql)?;
    }
    Ok(())
}

/// An org.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn get(tx: &mut Tx, org: OrgId) -> Result<Org> {
    let query = sqlx::query_as("SELECT name, created_at FROM orgs WHERE id = $1").bind(org.uuid());
    let row: Option<(String, At)> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    let (name, created_at) = row.ok_or(Refusal::NotFound { what: "org" })?;
    Ok(Org { id: org, name, created_at: created_at.0 })
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

/// An org's members, oldest first.
///
/// # Errors
/// A bad `page_token`.
pub async fn list_members(tx: &mut Tx, org: OrgId, page: &PageRequest) -> Result<Page<Member>> {
    let (at, user): (i64, Uuid) = page.after()?.unwrap_or((0, Uuid::nil()));
    let query = "SELECT user_id, role, created_at FROM members
                 WHERE org_id = $1 AND (created_at, user_id) > ($2, $3) ORDER BY created_at, user_id LIMIT $4";
    let query = sqlx::query_as(query).bind(org.uuid()).bind(At(Timestamp::from_micros(at))).bind(user).bind(page.fetch());
    let rows: Vec<MemberRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let members = rows.into_iter().map(MemberRow::read).collect::<Result<Vec<_>, _>>()?;
    Ok(page.cut(members, |member| (member.created_at.as_micros(), member.user.uuid())))
}

/// Adds a person or changes their role. Who may do that was checked by the caller.
///
/// # Errors
/// [`Refusal::Conflict`] when it would take the last admin away.
pub async fn put_member(tx: &mut Tx, org: OrgId, user: UserId, role: MemberRole) -> Result<Member> {
    if role != MemberRole::Admin {
        check_not_last_admin(tx, org, user).await?;
    }
    let query = "INSERT INTO members (org_id, user_id, role) VALUES ($1, $2, $3)
                 ON CONFLICT (org_id, user_id) DO UPDATE SET role = EXCLUDED.role RETURNING user_id, role, created_at";
    let query = sqlx::query_as(query).bind(org.uuid()).bind(user.uuid()).bind(role.name());
    let row: MemberRow = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(row.read()?)
}

/// Removes a person. Who may do that was checked by the caller.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] for the last admin.
pub async fn remove_member(tx: &mut Tx, org: OrgId, user: UserId) -> Result<()> {
    check_not_last_admin(tx, org, user).await?;
    let query = "DELETE FROM members WHERE org_id = $1 AND user_id = $2";
    let query = sqlx::query(query).bind(org.uuid()).bind(user.uuid());
    let done = query.execute(tx.connection()).await.map_err(sql)?;
    if done.rows_affected() == 0 {
        return Err(Refusal::NotFound { what: "member" }.into());
    }
    Ok(())
}

/// Locks every admin of the org, so that two calls cannot each leave the other as the last one.
async fn check_not_last_admin(tx: &mut Tx, org: OrgId, user: UserId) -> Result<()> {
    let query = "SELECT user_id FROM members WHERE org_id = $1 AND role = 'admin' ORDER BY user_id FOR UPDATE";
    let admins: Vec<Uuid> = sqlx::query_scalar(query).bind(org.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    if admins == [user.uuid()] {
        return Err(Refusal::Conflict { problem: "the org's last admin stays" }.into());
    }
    Ok(())
}
