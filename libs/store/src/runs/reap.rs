//! Taking runs back from sessions that are gone.

use super::aside::{SetAside, set_aside};
use super::committed::Committed;
use super::lock::lock_unless_busy;
use super::recover;
use super::transition::transition;
use crate::clock::Trusted;
use crate::columns::{At, big, count};
use crate::command::Command;
use crate::db::Db;
use crate::error::sql;
use crate::sessions::gone;
use crate::tx::Tx;
use futures::stream::{self, StreamExt as _};
use runmesh_domain::id::RunId;
use runmesh_domain::limits::Leases;
use runmesh_domain::run;
use runmesh_domain::{Error, Fault, Result};
use uuid::Uuid;

/// Runs that are taken back at once, each in a transaction of its own.
const AT_ONCE: usize = 4;

/// What ends later than it can was written before the clock was set back: it lasts from now on as long as it may.
const SHORTEN: &str = "
    UPDATE worker_sessions SET
      lease_ends_at = least(lease_ends_at, $1 + lease_ms * interval '1 millisecond'),
      cut_ends_at = CASE WHEN cut_ends_at > $1 + interval '2 seconds' THEN $1 + interval '1 second' ELSE cut_ends_at END
    WHERE id IN (
      SELECT id FROM worker_sessions WHERE NOT drained AND lost_at IS NULL
        AND (lease_ends_at > $1 + lease_ms * interval '1 millisecond' + interval '1 second'
          OR cut_ends_at > $1 + interval '2 seconds')
      FOR UPDATE SKIP LOCKED)";
/// Sessions past their lease are lost for good.
const LOSE: &str = "
    UPDATE worker_sessions SET lost_at = $1 WHERE id IN (
      SELECT id FROM worker_sessions WHERE NOT drained AND lost_at IS NULL AND lease_ends_at <= $1
      FOR UPDATE SKIP LOCKED)";
/// A lost session is looked at until a minute after its end nothing is left of it: a claim that was under way at the end has
/// committed by then.
const DRAIN: &str = "
    UPDATE worker_sessions s SET drained = true WHERE id IN (
      SELECT id FROM worker_sessions WHERE NOT drained AND lost_at < $1 - interval '1 minute' FOR UPDATE SKIP LOCKED)
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.session_id = s.id AND r.state = 'running')";

/// Sessions whose process is gone are cut, as by a stream that was seen to break; a little time is left to the last words that
/// are under way.
const CUT_GONE: &str = concat!(
    "UPDATE worker_sessions SET cut_number = stream_number, cut_ends_at = clock_timestamp() + interval '250 milliseconds'
     WHERE id IN (SELECT s.id FROM worker_sessions s WHERE ",
    gone!("$1"),
    " FOR UPDATE SKIP LOCKED)"
);

/// Whether session `s` lets go of its RUNNING run `r` at the moment `$1`: it is lost; it is cut, and nothing unsafe is under
/// way; or it should have named the run in its last heartbeat and did not, where `$3` says that times may be compared at all.
macro_rules! lets_go {
    () => {
        "(s.lost_at IS NOT NULL
          OR (s.cut_ends_at <= $1 AND NOT EXISTS (
            SELECT 1 FROM calls c WHERE c.run_id = r.id AND c.state IN ('dispatched', 'unknown') AND NOT c.idempotent))
          OR ($3 AND r.id = ANY (s.unnamed) AND (r.claimed_at < s.heartbeat_at - $2 * interval '1 millisecond'
            OR r.claimed_at > $1 + interval '1 second')))"
    };
}
/// Whether what a session lets go of is only cut.
macro_rules! is_cut {
    () => {
        "coalesce(s.lost_at IS NULL AND s.cut_ends_at <= $1, false) AS is_cut"
    };
}

const FIND: &str = concat!(
    "SELECT r.id, r.fence FROM worker_sessions s JOIN runs r ON r.session_id = s.id AND r.state = 'running'
     WHERE NOT s.drained AND (r.set_aside = '' OR r.cancel IS NOT NULL) AND ",
    lets_go!(),
    " ORDER BY r.set_aside <> '', r.claimed_at LIMIT $4"
);
/// Looked at again under the run's lock: a stream that was opened again since keeps what the session has.
const STILL: &str = concat!(
    "SELECT ",
    is_cut!(),
    " FROM runs r LEFT JOIN worker_sessions s ON s.id = r.session_id
     WHERE r.id = $4 AND (s.id IS NULL OR s.drained OR ",
    lets_go!(),
    ")"
);
/// RUNNING runs of sessions that are not there, or of which nothing should be left. Goes from session to session over an index.
const ORPHANS: &str = "
    WITH RECURSIVE holders(id) AS (
      (SELECT session_id FROM runs WHERE state = 'running' ORDER BY session_id LIMIT 1)
      UNION ALL
      SELECT (SELECT r.session_id FROM runs r WHERE r.state = 'running' AND r.session_id > h.id ORDER BY r.session_id LIMIT 1)
      FROM holders h WHERE h.id IS NOT NULL)
    SELECT r.id, r.fence FROM holders h JOIN runs r ON r.session_id = h.id AND r.state = 'running'
    WHERE NOT EXISTS (SELECT 1 FROM worker_sessions s WHERE s.id = h.id AND NOT s.drained) LIMIT $1";

/// Whether RUNNING run `r` is held by a worker that gets nowhere with it, at the moment `$1`: somebody was promised a lease (`$2`)
/// ago that it ends, or nothing was journaled for longer than its agent allows. What the stored spec does not say, or says in a way
/// that cannot be read, is an hour: no run keeps others from being looked at.
macro_rules! hangs {
    () => {
        "((r.cancel = 'now' AND r.cancel_at <= $1 - $2 * interval '1 millisecond')
          OR (r.progress_at <= $1 - interval '1 minute' AND r.progress_at <= $1 - interval '1 millisecond' * coalesce((
            SELECT CASE WHEN jsonb_typeof(x.spec #> '{agent,limits,progress_timeout_ms}') = 'number'
              THEN least((x.spec #>> '{agent,limits,progress_timeout_ms}')::numeric, 86400000) END
            FROM run_specs x WHERE x.run_id = r.id)::float8, 3600000)))"
    };
}
const FIND_HUNG: &str = concat!(
    "SELECT r.id, r.fence FROM runs r WHERE r.state = 'running' AND (r.set_aside = '' OR r.cancel IS NOT NULL) AND ",
    hangs!(),
    " ORDER BY r.set_aside <> '' LIMIT $3"
);
const STILL_HUNG: &str = concat!("SELECT false FROM runs r WHERE r.id = $3 AND ", hangs!());

/// Why a run is taken from its holder.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// Its session lets go of it.
    LetGo,
    /// It hangs.
    Hangs,
}

/// Runs that were taken back, each with what was committed of it.
pub type Reaped = Vec<(RunId, Vec<Committed>)>;

/// Takes back the runs of sessions that are gone, at most `limit` of them, each in a transaction of its own: one that cannot be
/// taken back keeps no other from it. Attempts ended by a cut do not count against the cap. Any number of replicas may reap
/// at once. Answers nothing when the database's clock cannot be trusted just now (see [`Db::watch_clock`]): nothing was done.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn reap(db: &Db, leases: &Leases, limit: u32) -> Result<Option<Reaped>> {
    let Some(clock) = db.trusted_clock(leases).await? else { return Ok(None) };
    let found = db.run_background(FindLost { clock, leases: *leases, limit }).await?;
    Ok(Some(take_back(db, clock, leases, found, Why::LetGo).await))
}

/// As [`reap`], for runs whose worker lives and gets nowhere with them. A cancel that was acknowledged ends the run within a lease,
/// whatever its worker does. An attempt without progress is over as if its worker were lost, and counts as such.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn reap_hung(db: &Db, leases: &Leases, limit: u32) -> Result<Reaped> {
    let Some(clock) = db.trusted_clock(leases).await?.filter(|clock| clock.by_time) else { return Ok(Vec::new()) };
    let found = db.run_background(FindHung { clock, leases: *leases, limit }).await?;
    Ok(take_back(db, clock, leases, found, Why::Hangs).await)
}

/// As [`reap`], for RUNNING runs whose session is not there at all: none of ours goes before its runs, so there are some only when
/// rows were restored or removed by hand.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn reap_orphans(db: &Db, leases: &Leases, limit: u32) -> Result<Reaped> {
    let found = db.run_background(FindOrphans { limit }).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let Some(clock) = db.trusted_clock(leases).await? else { return Ok(Vec::new()) };
    Ok(take_back(db, clock, leases, found, Why::LetGo).await)
}

/// Runs and the fences under which they were found.
type Found = Vec<(Uuid, i64)>;

/// Ends sessions that are over, and looks for the runs that they let go of.
struct FindLost {
    clock: Trusted,
    leases: Leases,
    limit: u32,
}

impl Command for FindLost {
    type Answer = Found;

    async fn run(&self, tx: &mut Tx) -> Result<Found> {
        let Trusted { now, by_time } = self.clock;
        let mut statements = vec![SHORTEN, DRAIN];
        if by_time {
            statements.push(LOSE);
        }
        for statement in statements {
            sqlx::query(statement).bind(At(now)).execute(tx.connection()).await.map_err(sql)?;
        }
        sqlx::query(CUT_GONE).bind(big(self.leases.lease_ms)).execute(tx.connection()).await.map_err(sql)?;
        let query = sqlx::query_as(FIND).bind(At(now)).bind(two_heartbeats(&self.leases)).bind(by_time);
        query.bind(i64::from(self.limit)).fetch_all(tx.connection()).await.map_err(sql)
    }
}

/// Looks for runs whose workers get nowhere with them.
struct FindHung {
    clock: Trusted,
    leases: Leases,
    limit: u32,
}

impl Command for FindHung {
    type Answer = Found;

    async fn run(&self, tx: &mut Tx) -> Result<Found> {
        let query = sqlx::query_as(FIND_HUNG).bind(At(self.clock.now)).bind(big(self.leases.lease_ms));
        query.bind(i64::from(self.limit)).fetch_all(tx.connection()).await.map_err(sql)
    }
}

/// Looks for runs of sessions that are not there.
struct FindOrphans {
    limit: u32,
}

impl Command for FindOrphans {
    type Answer = Found;

    async fn run(&self, tx: &mut Tx) -> Result<Found> {
        sqlx::query_as(ORPHANS).bind(i64::from(self.limit)).fetch_all(tx.connection()).await.map_err(sql)
    }
}

fn two_heartbeats(leases: &Leases) -> i64 {
    big(leases.heartbeat_ms.saturating_mul(2))
}

async fn take_back(db: &Db, clock: Trusted, leases: &Leases, found: Found, why: Why) -> Reaped {
    let one = |(id, fence): (Uuid, i64)| async move {
        let run = RunId::from_uuid(id);
        match db.run_background(TakeBack { clock, leases: *leases, run, fence: count(fence), why }).await {
            Ok(committed) => committed.map(|committed| (run, committed)),
            Err(error) => {
                tracing::error!(%run, %error, "a run of a lost lease was not taken back");
                note_aside(db, run, &error).await;
                None
            }
        }
    };
    stream::iter(found).map(one).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Sets a run aside that cannot be moved for reasons of its own, so that no sweep meets it again. One that could not be moved because
/// Postgres was away is left for the next tick.
pub async fn note_aside(db: &Db, run: RunId, error: &Error) {
    let Error::Fault(Fault::Internal { detail }) = error else { return };
    let aside = SetAside { run, problem: detail.clone() };
    match db.run_background(MoveAside(aside)).await {
        Ok(()) => tracing::error!(%run, %error, "a run was set aside; `runmesh cancel` ends it"),
        Err(error) => tracing::error!(%run, %error, "a run could not be set aside"),
    }
}

/// Sets one run aside.
struct MoveAside(SetAside);

impl Command for MoveAside {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        set_aside(tx, &self.0).await
    }
}

/// Takes one run back; nothing when it or its session moved on meanwhile, or when its thread is busy: the next tick will see.
struct TakeBack {
    clock: Trusted,
    leases: Leases,
    run: RunId,
    fence: u64,
    why: Why,
}

impl Command for TakeBack {
    type Answer = Option<Vec<Committed>>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        let Self { clock, leases, run, fence, why } = self;
        let Some(locked) = lock_unless_busy(tx, *run).await? else { return Ok(None) };
        if locked.row.run.check_holder(*fence).is_err() {
            return Ok(None);
        }
        let still = match why {
            Why::LetGo => sqlx::query_scalar(STILL).bind(At(clock.now)).bind(two_heartbeats(leases)).bind(clock.by_time),
            Why::Hangs => sqlx::query_scalar(STILL_HUNG).bind(At(clock.now)).bind(big(leases.lease_ms)),
        };
        let still: Option<bool> = still.bind(run.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
        let Some(is_cut) = still else { return Ok(None) };
        let (ask, extra) = recover::ask(tx, &locked).await?;
        if is_cut && ask.is_some() {
            // A call was dispatched since: the run keeps its whole lease.
            return Ok(None);
        }
        let changes = locked.row.run.decide(&run::Command::LoseLease { fence: *fence, ask, counts: !is_cut })?;
        let (_, committed) = transition(tx, locked, &changes, extra).await?;
        Ok(Some(committed))
    }
}
