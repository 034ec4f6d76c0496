//! How orgs come to be, change, and go. Who may do what was checked by the caller.

use super::{Org, OrgRow, org_columns};
use crate::columns::int;
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::limits::OrgLimits;
use runmesh_domain::{Refusal, Result};
use uuid::Uuid;

/// An org to make. Its names were checked at the border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrg {
    /// Its name, from which its id follows.
    pub name: String,
    /// What people call it; may be empty.
    pub display_name: String,
}

/// What is to be different. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrgChange {
    /// What people call it; may be empty.
    pub display_name: Option<String>,
    /// Bounds of its own, all of them.
    pub limits: Option<OrgLimits>,
}

const HOLDER: &str = "SELECT id, deleted_at IS NOT NULL FROM orgs WHERE name = $1 OR id = $2";
const CREATE: &str = concat!(
    "WITH o AS (INSERT INTO orgs (id, name, display_name) VALUES ($1, $2, $3) RETURNING *),
     m AS (INSERT INTO members (org_id, user_id, role) SELECT id, $4, 'admin' FROM o)
     SELECT ",
    org_columns!(),
    " FROM o"
);
const UPDATE: &str = concat!(
    "UPDATE orgs o SET display_name = coalesce($2, o.display_name),
       running_per_user_max = CASE WHEN $3 THEN $4 ELSE o.running_per_user_max END,
       running_per_org_max = CASE WHEN $3 THEN $5 ELSE o.running_per_org_max END
     WHERE o.id = $1 AND o.deleted_at IS NULL RETURNING ",
    org_columns!()
);
/// Waits for whoever is joining or claiming for the org; they look again once this has ended.
const LOCK: &str = "SELECT id FROM orgs WHERE id = $1 AND deleted_at IS NULL FOR UPDATE";
const HAS_OPEN_RUNS: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE org_id = $1 AND ended_at IS NULL)";

/// Makes an org when it is not there, and its admin when one is named. Answers false, and does nothing, for an org that was
/// deleted: it stays so. Scope System.
///
/// # Errors
/// [`Refusal::NameTaken`] when another org bears the name.
pub async fn ensure(tx: &mut Tx, org: OrgId, name: &str, admin: Option<UserId>) -> Result<bool> {
    let query = "INSERT INTO orgs (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(query).bind(org.uuid()).bind(name.to_owned()).execute(tx.connection()).await.map_err(sql)?;
    match holder(tx, org, name).await? {
        Some((holder, _)) if holder != org => return Err(Refusal::NameTaken { what: "org" }.into()),
        Some((_, true)) => return Ok(false),
        Some((_, false)) | None => {}
    }
    if let Some(admin) = admin {
        let query = "INSERT INTO members (org_id, user_id, role) VALUES ($1, $2, 'admin') ON CONFLICT DO NOTHING";
        sqlx::query(query).bind(org.uuid()).bind(admin.uuid()).execute(tx.connection()).await.map_err(sql)?;
    }
    Ok(true)
}

/// Makes an org, with its first admin. Of two that ask for a name at once one is made; the other's transaction runs again and
/// finds it, or the answer that its idempotency key has got by then. Scope System.
///
/// # Errors
/// [`Refusal::NameTaken`], by a deleted org too.
pub async fn create(tx: &mut Tx, new: &NewOrg, admin: UserId) -> Result<Org> {
    let org = OrgId::of_name(&new.name);
    if holder(tx, org, &new.name).await?.is_some() {
        return Err(Refusal::NameTaken { what: "org" }.into());
    }
    let query = sqlx::query_as(CREATE).bind(org.uuid()).bind(new.name.clone()).bind(new.display_name.clone());
    let row: OrgRow = query.bind(admin.uuid()).fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(row.read())
}

/// The org that has the name or the id, and whether it was deleted.
async fn holder(tx: &mut Tx, org: OrgId, name: &str) -> Result<Option<(OrgId, bool)>> {
    let query = sqlx::query_as(HOLDER).bind(name.to_owned()).bind(org.uuid());
    let row: Option<(Uuid, bool)> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(|(id, is_deleted)| (OrgId::from_uuid(id), is_deleted)))
}

/// Changes what an org says of itself. Limits count from the next claim on.
///
/// # Errors
/// [`Refusal::NotFound`].
pub async fn update(tx: &mut Tx, org: OrgId, change: &OrgChange) -> Result<Org> {
    let limits = change.limits.unwrap_or_default();
    let query = sqlx::query_as(UPDATE)
        .bind(org.uuid())
        .bind(change.display_name.clone())
        .bind(change.limits.is_some())
        .bind(limits.running_per_user_max.map(int))
        .bind(limits.running_per_org_max.map(int));
    let row: Option<OrgRow> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.ok_or(Refusal::NotFound { what: "org" })?.read())
}

/// Deletes an org: nobody is a member of it any more, and its name stays taken.
///
/// A message that was being accepted at this very moment may leave a READY run behind. It is nobody's to see, no claim takes it,
/// and it fails as every run does that no worker takes.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] while a run of it has not ended.
pub async fn delete(tx: &mut Tx, org: OrgId) -> Result<()> {
    let there: Option<Uuid> = sqlx::query_scalar(LOCK).bind(org.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    there.ok_or(Refusal::NotFound { what: "org" })?;
    let busy: bool = sqlx::query_scalar(HAS_OPEN_RUNS).bind(org.uuid()).fetch_one(tx.connection()).await.map_err(sql)?;
    if busy {
        return Err(Refusal::Conflict { problem: "a run of the org has not ended; cancel what is open first" }.into());
    }
    let query = "UPDATE orgs SET deleted_at = clock_timestamp() WHERE id = $1";
    sqlx::query(query).bind(org.uuid()).execute(tx.connection()).await.map_err(sql)?;
    let query = "DELETE FROM members WHERE org_id = $1";
    sqlx::query(query).bind(org.uuid()).execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}
