//! A worker session takes runs: however many, in a handful of statements.
//!
//! The rows of the orgs served are locked first, so that two claims never count an org's or a user's RUNNING runs at the
//! same time and both find room. Claims that meet take different orgs.

use super::accept::Accepted;
use super::aside::{SetAside, set_aside};
use super::committed::Committed;
use super::moves::{self, Move};
use super::pick::{self, Orgs, Picked};
use super::row::RunRow;
use super::transition::TransitionExtra;
use crate::steps::{self, Context};
use crate::tx::Tx;
use runmesh_domain::id::SessionId;
use runmesh_domain::limits::Queues;
use runmesh_domain::run::{Command, RunIds};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::transition::Record;
use runmesh_domain::{Error, Fault, Result};

/// For whom to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimFor {
    /// The session: its credential and what it declared bound what it gets.
    pub session: SessionId,
    /// Runs at most.
    pub limit: u32,
    /// Bounds of what runs at once.
    pub queues: Queues,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The runs that were claimed.
    pub claimed: Vec<Claimed>,
    /// What was left.
    pub left: Left,
    /// Runs that cannot be read and were set aside.
    pub aside: Vec<SetAside>,
}

/// What a claim left READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing that this session may serve.
    Nothing,
    /// Runs beyond its wish, or such as a limit or a missing tool holds back.
    Perhaps,
    /// Runs of orgs that other claims held just then: worth another look when those are over.
    Skipped,
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
pub async fn claim(tx: &mut Tx, wish: ClaimFor) -> Result<Claims> {
    let Orgs { locked, skipped } = pick::lock_orgs(tx, wish.session).await?;
    let left = match (skipped, locked.is_empty()) {
        (true, _) => Left::Skipped,
        (false, true) => Left::Nothing,
        (false, false) => Left::Perhaps,
    };
    if locked.is_empty() || wish.limit == 0 {
        return Ok(Claims { claimed: Vec::new(), left, aside: Vec::new() });
    }
    let (picked, mut aside) = pick::pick(tx, &wish, &locked).await?;
    let (readable, unreadable) = read(tx, picked).await?;
    aside.extend(unreadable);
    for one in &aside {
        set_aside(tx, one).await?;
    }
    let claimed = take(tx, wish.session, readable).await?;
    Ok(Claims { claimed, left, aside })
}

/// Claims the run that this transaction accepted, when the session may have it and nothing else of its org waits: one commit
/// and one round of waking less. Answers `None` when it may not; then the run is claimed as any other.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn claim_accepted(tx: &mut Tx, accepted: &Accepted, session: SessionId, queues: Queues) -> Result<Option<Claimed>> {
    if !accepted.ready || !accepted.org_locked {
        return Ok(None);
    }
    let Accepted { row, spec, .. } = accepted;
    let Some(now) = pick::may_take(tx, session, row.run.id, queues).await? else { return Ok(None) };
    let picked = Picked { row: row.clone(), spec: spec.clone(), now };
    // A run that was just accepted has no journal; what its thread holds may be unreadable all the same. Then it is claimed as any
    // other, and set aside there.
    let Some(context) = steps::small_contexts(tx, &[row]).await.ok().and_then(|mut one| one.pop()) else { return Ok(None) };
    let readable = Readable { picked, context, unlogged: accepted.committed.clone() };
    Ok(take(tx, session, vec![readable]).await?.pop())
}

/// What goes along with an assignment, read before anything of the claim is written.
struct Readable {
    picked: Picked,
    context: Option<Context>,
    /// Transitions before the claim that are not marked as logged.
    unlogged: Vec<Committed>,
}

/// Reads what goes along with each run, all runs at once. When that fails, each by itself, so that only those that cannot be read
/// are left out.
async fn read(tx: &mut Tx, picked: Vec<Picked>) -> Result<(Vec<Readable>, Vec<SetAside>)> {
    if let Ok(all) = read_all(tx, &picked).await {
        let readable = picked.into_iter().zip(all);
        return Ok((readable.map(|(picked, (context, unlogged))| Readable { picked, context, unlogged }).collect(), Vec::new()));
    }
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for picked in picked {
        match read_all(tx, std::slice::from_ref(&picked)).await.map(|mut one| one.pop()) {
            Ok(Some((context, unlogged))) => readable.push(Readable { picked, context, unlogged }),
            Ok(None) => {}
            Err(Error::Fault(Fault::Internal { detail })) => {
                unreadable.push(SetAside { run: picked.row.run.id, problem: detail });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((readable, unreadable))
}

async fn read_all(tx: &mut Tx, picked: &[Picked]) -> Result<Vec<(Option<Context>, Vec<Committed>)>> {
    let rows: Vec<&RunRow> = picked.iter().map(|picked| &picked.row).collect();
    let contexts = steps::small_contexts(tx, &rows).await?;
    let mut unlogged = super::view::unlogged_of(tx, &rows).await?;
    let all = rows.iter().zip(contexts);
    Ok(all.map(|(row, context)| (context, unlogged.remove(&row.run.id).unwrap_or_default())).collect())
}

async fn take(tx: &mut Tx, session: SessionId, readable: Vec<Readable>) -> Result<Vec<Claimed>> {
    let mut moves = Vec::with_capacity(readable.len());
    for Readable { picked: Picked { row, now, .. }, .. } in &readable {
        for change in row.run.decide(&Command::Claim { session })? {
            moves.push(Move::decided(row, &change, Record::AttemptStarted, *now, &TransitionExtra::default()));
        }
    }
    moves::write(tx, &moves).await?;
    let claimed = moves.into_iter().zip(readable).map(|(step, Readable { picked, context, unlogged })| {
        let (row, own) = step.done();
        let committed = unlogged.into_iter().chain(own).collect();
        Claimed { row, spec: picked.spec, context, committed }
    });
    Ok(claimed.collect())
}
