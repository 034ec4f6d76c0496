//! Worker sessions take runs: however many, for however many sessions, in a handful of statements.
//!
//! The rows of the orgs served are locked first, so that two claims never count an org's or a user's RUNNING runs at the
//! same time and both find room. Claims that meet take different orgs.

use super::accept::Accepted;
use super::aside::{SetAside, set_aside};
use super::committed::Committed;
use super::look::{self, Orgs, Workers};
use super::moves::{self, Move};
use super::pick::{self, Picked, Picks};
use super::round::ClaimRound;
use super::row::RunRow;
use super::share::{Wanted, kinds, share};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimFor {
    /// Sessions that have room.
    pub sessions: Vec<SessionRoom>,
    /// Runs at most, of all sessions together.
    pub limit: u32,
    /// Bounds of what runs at once.
    pub queues: Queues,
    /// Where to look.
    pub round: ClaimRound,
}

/// A session that has room: its credential and what it declared bound what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRoom {
    /// The session.
    pub session: SessionId,
    /// Runs that it takes at most.
    pub credits: u32,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The runs that were claimed.
    pub claimed: Vec<Claimed>,
    /// What was left where this claim looked.
    pub left: Left,
    /// Whether the round has more to look at that the sessions may take: claim again at once.
    pub has_more: bool,
    /// Where the next claim looks.
    pub round: ClaimRound,
    /// Sessions that take nothing because they are dead, or their Claim streams were seen to break.
    pub lost: Vec<SessionId>,
    /// Runs that cannot be read and were set aside.
    pub aside: Vec<SetAside>,
}

/// What a claim left READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing that these sessions may serve.
    Nothing,
    /// Runs beyond their wish, or such as a limit or a missing tool holds back.
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

/// Claims READY runs for live sessions: fair over orgs, then over users, oldest first, and over sessions; within the running limits.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn claim(tx: &mut Tx, wish: &ClaimFor) -> Result<Claims> {
    let Workers { free, lost } = look::workers(tx, wish).await?;
    let lost = lost.into_iter().map(SessionId::from_uuid).collect();
    let mut round = wish.round.clone();
    let credits = free.iter().fold(0_u32, |sum, worker| sum.saturating_add(worker.credits));
    let limit = wish.limit.min(credits);
    if limit == 0 {
        return Ok(Claims { claimed: Vec::new(), left: Left::Perhaps, has_more: false, round, lost, aside: Vec::new() });
    }
    let Orgs { locked, skipped, stretch } = look::lock_orgs(tx, wish, &free, limit).await?;
    let left = match (skipped, stretch.last) {
        (true, _) => Left::Skipped,
        (false, None) => Left::Nothing,
        (false, Some(_)) => Left::Perhaps,
    };
    if locked.is_empty() {
        let has_more = round.advance(stretch);
        return Ok(Claims { claimed: Vec::new(), left, has_more, round, lost, aside: Vec::new() });
    }
    let picks = pick::pick(tx, wish, &locked, &kinds(&free), limit, &mut round).await?;
    let Picks { picked, unreadable: mut aside, is_cut } = picks;
    let (readable, unreadable) = read(tx, share(picked, &free)).await?;
    aside.extend(unreadable);
    for one in &aside {
        set_aside(tx, one).await?;
    }
    let claimed = take(tx, readable).await?;
    // What the first users have left over is for the next claim, at the same place. One that takes nothing goes on.
    let stays = is_cut && !claimed.is_empty();
    let has_more = stays || round.advance(stretch);
    Ok(Claims { claimed, left, has_more, round, lost, aside })
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
    let (org, agent) = (row.run.org.uuid(), row.run.agent.uuid());
    let wanted = Wanted { org, agent, needs: Vec::new(), alone: false, waited: false };
    let picked = Picked { row: row.clone(), spec: spec.clone(), now, wanted };
    // A run that was just accepted has no journal; what its thread holds may be unreadable all the same. Then it is claimed as any
    // other, and set aside there.
    let Some(context) = steps::small_contexts(tx, &[row]).await.ok().and_then(|mut one| one.pop()) else { return Ok(None) };
    let readable = Readable { picked, session, context, unlogged: accepted.committed.clone() };
    Ok(take(tx, vec![readable]).await?.pop())
}

/// What goes along with an assignment, read before anything of the claim is written.
struct Readable {
    picked: Picked,
    session: SessionId,
    context: Option<Context>,
    /// Transitions before the claim that are not marked as logged.
    unlogged: Vec<Committed>,
}

/// Reads what goes along with each run, all runs at once. When that fails, each by itself, so that only those that cannot be read
/// are left out.
async fn read(tx: &mut Tx, shared: Vec<(Picked, SessionId)>) -> Result<(Vec<Readable>, Vec<SetAside>)> {
    let rows: Vec<&RunRow> = shared.iter().map(|(picked, _)| &picked.row).collect();
    if let Ok(all) = read_all(tx, &rows).await {
        let readable = shared.into_iter().zip(all);
        let readable = readable.map(|((picked, session), (context, unlogged))| Readable { picked, session, context, unlogged });
        return Ok((readable.collect(), Vec::new()));
    }
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for (picked, session) in shared {
        match read_all(tx, &[&picked.row]).await.map(|mut one| one.pop()) {
            Ok(Some((context, unlogged))) => readable.push(Readable { picked, session, context, unlogged }),
            Ok(None) => {}
            Err(Error::Fault(Fault::Internal { detail })) => {
                unreadable.push(SetAside { run: picked.row.run.id, problem: detail });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((readable, unreadable))
}

async fn read_all(tx: &mut Tx, rows: &[&RunRow]) -> Result<Vec<(Option<Context>, Vec<Committed>)>> {
    let contexts = steps::small_contexts(tx, rows).await?;
    let mut unlogged = super::view::unlogged_of(tx, rows).await?;
    let all = rows.iter().zip(contexts);
    Ok(all.map(|(row, context)| (context, unlogged.remove(&row.run.id).unwrap_or_default())).collect())
}

async fn take(tx: &mut Tx, readable: Vec<Readable>) -> Result<Vec<Claimed>> {
    let mut moves = Vec::with_capacity(readable.len());
    for Readable { picked: Picked { row, now, .. }, session, .. } in &readable {
        for change in row.run.decide(&Command::Claim { session: *session })? {
            moves.push(Move::decided(row, &change, Record::AttemptStarted, *now, &TransitionExtra::default()));
        }
    }
    moves::write(tx, &moves).await?;
    let claimed = moves.into_iter().zip(readable).map(|(step, Readable { picked, context, unlogged, .. })| {
        let (row, own) = step.done();
        let committed = unlogged.into_iter().chain(own).collect();
        Claimed { row, spec: picked.spec, context, committed }
    });
    Ok(claimed.collect())
}
