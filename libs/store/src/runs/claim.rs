//! A worker session takes runs: however many, in a handful of statements.
//!
//! The rows of the orgs served are locked first, so that two claims never count an org's or a user's RUNNING runs at the
//! same time and both find room. Claims that meet take different orgs.

use super::committed::Committed;
use super::moves::{self, Move};
use super::pick::{self, Picked};
use super::row::RunRow;
use super::transition::TransitionExtra;
use crate::steps::{self, Context};
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::SessionId;
use runmesh_domain::limits::Queues;
use runmesh_domain::run::{Command, RunIds};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::transition::Record;

/// For whom to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimFor {
    /// The session: its credential and what it declared bound what it gets.
    pub session: SessionId,
    /// Runs at most.
    pub limit: u32,
    /// Bounds of what runs at once.
    pub queues: Queues,
    /// Whether to wait for an org that another claim holds. One that is made beside something else leaves it to that claim.
    pub wait: bool,
}

/// A run that was claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The run, RUNNING under its new fence.
    pub row: RunRow,
    /// What to run.
    pub spec: RunSpec,
    /// Its whole context when that is small; else the worker asks for it page by page.
    pub context: Option<Context>,
    /// The claim's transition, and those before it that are not marked as logged: what its log needs to be caught up.
    pub committed: Vec<Committed>,
}

impl Claimed {
    /// Who and what the run is about.
    #[must_use]
    pub const fn ids(&self) -> RunIds {
        super::committed::ids(&self.row.run)
    }
}

/// Claims READY runs for a live session: fair over orgs, then over users, oldest first; within the running limits.
///
/// # Errors
/// [`runmesh_domain::Refusal::SessionLost`] when the session is dead, or its Claim stream was seen to break.
pub async fn claim(tx: &mut Tx, wish: ClaimFor) -> Result<Vec<Claimed>> {
    let orgs = pick::lock_orgs(tx, wish.session, wish.wait).await?;
    if orgs.is_empty() || wish.limit == 0 {
        return Ok(Vec::new());
    }
    let picked = pick::pick(tx, &wish, &orgs).await?;
    let mut moves = Vec::with_capacity(picked.len());
    for Picked { row, now, .. } in &picked {
        for change in row.run.decide(&Command::Claim { session: wish.session })? {
            moves.push(Move::decided(row, &change, Record::AttemptStarted, *now, &TransitionExtra::default()));
        }
    }
    moves::write(tx, &moves).await?;
    let runs: Vec<&RunRow> = picked.iter().map(|picked| &picked.row).collect();
    let contexts = steps::small_contexts(tx, &runs).await?;
    let mut earlier = super::view::unlogged_of(tx, &runs).await?;
    let claimed = moves.into_iter().zip(picked).zip(contexts);
    let claimed = claimed.map(|((step, picked), context)| {
        let (row, _) = step.done();
        let committed = earlier.remove(&row.run.id).unwrap_or_default();
        Claimed { row, spec: picked.spec, context, committed }
    });
    Ok(claimed.collect())
}
