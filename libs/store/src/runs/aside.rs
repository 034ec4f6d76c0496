//! Setting a run aside that cannot be read or not be moved: everything else goes on without it, and an operator ends it.

use crate::columns::count;
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::RunId;
use runmesh_domain::limits::DETAIL_CHARS_MAX;
use runmesh_domain::text::one_line;
use runmesh_domain::{Error, Fault, Result};

/// Why a run cannot be handed to a worker, or not be taken from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The run.
    pub run: RunId,
    /// What is wrong with it, for operators.
    pub problem: String,
}

const COUNT_ASIDE: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE set_aside <> '' AND ended_at IS NULL LIMIT $1) aside";
const DEAD_ROWS: &str = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'runs'::regclass";
const SET_ASIDE: &str = "UPDATE runs SET set_aside = $2 WHERE id = $1 AND set_aside = ''";

/// Sets a run aside: claims and sweeps pass over it from now on. Its state stays as it is. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn set_aside(tx: &mut Tx, aside: &SetAside) -> Result<()> {
    let problem = one_line(&aside.problem, DETAIL_CHARS_MAX / 4);
    let problem = if problem.is_empty() { "unreadable".to_owned() } else { problem };
    let query = sqlx::query(SET_ASIDE).bind(aside.run.uuid()).bind(problem);
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// Runs that were set aside and are not over, of all orgs; no more than `most` are counted. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn count_aside(tx: &mut Tx, most: u32) -> Result<u64> {
    let query = sqlx::query_scalar(COUNT_ASIDE).bind(i64::from(most));
    let aside: i64 = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(count(aside))
}

/// Row versions of the table of runs that no transaction needs and vacuum has not removed, as Postgres estimates. Autovacuum begins
/// at 2,000; far more of them mean that somebody's old snapshot keeps them, and claims read past all of them. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn count_dead_rows(tx: &mut Tx) -> Result<u64> {
    let dead: Option<i64> = sqlx::query_scalar(DEAD_ROWS).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(count(dead.unwrap_or_default()))
}

/// Moves one run of a sweep. One that cannot be moved for reasons of its own is set aside, so that no sweep meets it again; one that
/// could not be moved just now is left to the next. Neither keeps the others from their turn.
pub(crate) async fn sweep_one<T>(
    tx: &mut Tx,
    run: RunId,
    work: impl for<'t> AsyncFnOnce(&'t mut Tx) -> Result<T>,
) -> Result<Option<T>> {
    match tx.one_of_many(work).await? {
        Ok(value) => Ok(Some(value)),
        Err(Error::Fault(Fault::Internal { detail })) => {
            tracing::error!(%run, detail, "a run was set aside: it cannot be moved; `runmesh cancel` ends it");
            set_aside(tx, &SetAside { run, problem: detail }).await?;
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%run, %error, "a run could not be moved, the next sweep tries again");
            Ok(None)
        }
    }
}
