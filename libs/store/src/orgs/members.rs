//! Who belongs to an org, and to which orgs a person belongs. Knows nothing of what a member may do elsewhere.

use super::{Member, MemberRole, MemberRow, Org, OrgRow, org_columns};
use crate::columns::At;
use crate::error::sql;
use crate::page::{Page, PageRequest};
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Refusal, Result, Timestamp};
use std::collections::HashSet;
use uuid::Uuid;

const LIST_OF: &str = concat!(
    "SELECT ",
    org_columns!(),
    ", m.user_id, m.role, m.created_at AS joined_at FROM members m JOIN orgs o ON o.id = m.org_id
     WHERE m.user_id = $1 AND ($2::uuid[] IS NULL OR o.id = ANY ($2)) AND o.name > $3 AND o.deleted_at IS NULL
     ORDER BY o.name LIMIT $4"
);

#[derive(sqlx::FromRow)]
struct PlaceRow {
    #[sqlx(flatten)]
    org: OrgRow,
    user_id: Uuid,
    role: String,
    joined_at: At,
}

/// The orgs that a person belongs to, by name, each with the person's place in it; of `among` only, when given. Scope Person.
///
/// # Errors
/// A bad `page_token`.
pub async fn list_of(tx: &mut Tx, user: UserId, among: Option<&[OrgId]>, page: &PageRequest) -> Result<Page<(Org, Member)>> {
    let after: String = page.after()?.unwrap_or_default();
    let among: Option<Vec<Uuid>> = among.map(|orgs| orgs.iter().map(|org| org.uuid()).collect());
    let query = sqlx::query_as(LIST_OF).bind(user.uuid()).bind(among).bind(after).bind(page.fetch());
    let rows: Vec<PlaceRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |PlaceRow { org, user_id, role, joined_at }| {
        let member = MemberRow { user_id, role, created_at: joined_at }.read()?;
        Ok((org.read(), member))
    };
    let places = rows.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.cut(places, |(org, _)| org.name.clone()))
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

/// Those of these people who are members of the org named with them, in one statement. Scope System, or the org's own.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn members_among(tx: &mut Tx, people: &[(OrgId, UserId)]) -> Result<HashSet<(OrgId, UserId)>> {
    let (orgs, users): (Vec<Uuid>, Vec<Uuid>) = people.iter().map(|(org, user)| (org.uuid(), user.uuid())).unzip();
    let query = "SELECT m.org_id, m.user_id FROM unnest($1::uuid[], $2::uuid[]) AS a (org_id, user_id)
                 CROSS JOIN LATERAL (
                   SELECT org_id, user_id FROM members WHERE org_id = a.org_id AND user_id = a.user_id LIMIT 1) m";
    let query = sqlx::query_as(query).bind(orgs).bind(users);
    let rows: Vec<(Uuid, Uuid)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(rows.into_iter().map(|(org, user)| (OrgId::from_uuid(org), UserId::from_uuid(user))).collect())
}

/// Adds a person or changes their role. Who may do that was checked by the caller.
///
/// # Errors
/// [`Refusal::Conflict`] when it would take the last admin away; [`Refusal::NotFound`] when the org was deleted meanwhile.
pub async fn put_member(tx: &mut Tx, org: OrgId, user: UserId, role: MemberRole) -> Result<Member> {
    stay(tx, org).await?;
    if role != MemberRole::Admin {
        check_not_last_admin(tx, org, user).await?;
    }
    let query = "INSERT INTO members (org_id, user_id, role) VALUES ($1, $2, $3)
                 ON CONFLICT (org_id, user_id) DO UPDATE SET role = EXCLUDED.role RETURNING user_id, role, created_at";
    let query = sqlx::query_as(query).bind(org.uuid()).bind(user.uuid()).bind(role.name());
    let row: MemberRow = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(row.read()?)
}

/// Keeps the org from being deleted until the transaction ends: nobody becomes a member of one that is.
async fn stay(tx: &mut Tx, org: OrgId) -> Result<()> {
    let query = sqlx::query_scalar("SELECT id FROM orgs WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE").bind(org.uuid());
    let there: Option<Uuid> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    there.map(drop).ok_or_else(|| Refusal::NotFound { what: "org" }.into())
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
