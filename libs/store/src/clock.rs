//! Tells a database clock that somebody set from one that ran on. Decides nothing about leases itself: it says when the clock may
//! be asked about them.
//!
//! A lease that passed while the clock ran on is over. A lease that passed because the clock was set says nothing: so after a
//! jump nothing is taken back for a whole lease, in which every worker that lives heartbeats several times.

use crate::columns::At;
use crate::db::Db;
use crate::error::{sql, unavailable};
use runmesh_domain::limits::Leases;
use runmesh_domain::{Result, Timestamp};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How far the two clocks may drift apart between two looks before it is called a jump, and how long a look may take: one that
/// took longer says too little about when the clock was read.
const SLACK: Duration = Duration::from_secs(1);
/// How long a look is waited for.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What the database's clock showed between two moments of this process.
#[derive(Debug, Clone, Copy)]
struct Look {
    shown: Timestamp,
    asked: Instant,
    answered: Instant,
}

/// A moment of the database's clock that may be compared with leases. Only [`ClockGuard`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trusted {
    /// The moment.
    pub(crate) now: Timestamp,
    /// Whether a session may be lost because its time has passed. Not while this process is new: it does not know what the
    /// clock did before, so every worker gets time to heartbeat first.
    pub(crate) by_time: bool,
}

/// Compares the database's clock with this process's monotonic one, look by look.
#[derive(Debug, Default)]
pub(crate) struct ClockGuard {
    first: Option<Instant>,
    last: Option<Look>,
    jumped: Option<Instant>,
}

impl ClockGuard {
    fn see(&mut self, look: Look, leases: &Leases) -> Option<Trusted> {
        if look.answered.duration_since(look.asked) > SLACK {
            return None;
        }
        let first = *self.first.get_or_insert(look.answered);
        let before = self.last.replace(look)?;
        if !look.follows(&before) {
            tracing::warn!(from = ?before.shown, to = ?look.shown, "the clock of the database was set, so no lease ends for a while");
            self.jumped = Some(look.answered);
        }
        if self.jumped.is_some_and(|jumped| look.answered.duration_since(jumped) < leases.lease()) {
            return None;
        }
        let by_time = look.answered.duration_since(first) >= leases.two_heartbeats();
        Some(Trusted { now: look.shown, by_time })
    }
}

impl Look {
    /// Whether the database's clock went on as this process's did, as far as two looks can say.
    fn follows(&self, before: &Self) -> bool {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 2);
        let least = micros(self.asked.saturating_duration_since(before.answered)) - micros(SLACK);
        let most = micros(self.answered.saturating_duration_since(before.asked)) + micros(SLACK);
        (least..=most).contains(&self.shown.as_micros().saturating_sub(before.shown.as_micros()))
    }
}

impl Db {
    /// Looks at the database's clock, so that the next look has one to be compared with. To be called as often as
    /// leases are looked at: two clocks that run on drift apart in hours.
    ///
    /// # Errors
    /// [`runmesh_domain::Fault::Unavailable`].
    pub async fn watch_clock(&self, leases: &Leases) -> Result<()> {
        self.trusted_clock(leases).await.map(|_| ())
    }

    /// The database's clock, when it may be compared with leases; nothing when it was set less than a lease ago, when it was
    /// not looked at before, and when the look took too long to say anything.
    pub(crate) async fn trusted_clock(&self, leases: &Leases) -> Result<Option<Trusted>> {
        // How long a connection was waited for says nothing about the clock.
        let mut checkout = self.inner.background.checkout(None).await?;
        let mut tries = 0;
        let look = loop {
            tries += 1;
            let asked = Instant::now();
            let read = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(checkout.connection());
            match timeout(LOOK_LIMIT, read).await {
                Ok(Ok(At(shown))) => break Look { shown, asked, answered: Instant::now() },
                Ok(Err(problem)) if !crate::error::is_connection(&problem) => return Err(sql(problem)),
                Ok(Err(_)) | Err(_) if tries == 1 => checkout.renew().await?,
                Ok(Err(problem)) => return Err(sql(problem)),
                Err(_) => return Err(unavailable("a look at the clock took too long")),
            }
        };
        checkout.give_back();
        Ok(self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).see(look, leases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASES: Leases =
        Leases { lease_ms: 15_000, heartbeat_ms: 5_000, reaper_ms: 1_000, poll_ms: 1_000, no_worker_ms: 1_000 };

    /// What the guard says of looks at these seconds of the database and of this process, each of which took so many ms.
    fn seen(looks: &[(i64, u64, u64)]) -> Vec<Option<bool>> {
        let (mut guard, start) = (ClockGuard::default(), Instant::now());
        let look = |(shown, at, took): &(i64, u64, u64)| {
            let asked = start + Duration::from_secs(*at);
            let shown = Timestamp::from_micros(1_000_000 * (1_000_000 + shown));
            Look { shown, asked, answered: asked + Duration::from_millis(*took) }
        };
        looks.iter().map(|one| guard.see(look(one), &LEASES).map(|trusted| trusted.by_time)).collect()
    }

    #[test]
    fn a_clock_that_runs_on_is_trusted_once_it_was_watched() {
        assert_eq!(seen(&[(0, 0, 1), (5, 5, 1), (11, 11, 900), (20, 20, 1)]), [None, Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn after_a_jump_either_way_no_lease_ends_for_a_lease() {
        for jump in [3_600, -3_600, 3, -2] {
            let looks = [(0, 0, 1), (20, 20, 1), (21 + jump, 21, 1), (30 + jump, 30, 1), (35 + jump, 35, 1), (36 + jump, 36, 1)];
            assert_eq!(seen(&looks), [None, Some(true), None, None, None, Some(true)], "{jump}");
        }
    }

    #[test]
    fn a_slow_look_says_nothing_and_is_no_jump() {
        assert_eq!(seen(&[(0, 0, 1), (20, 20, 1), (24, 21, 4_000), (26, 26, 1)]), [None, Some(true), None, Some(true)]);
    }

    #[test]
    fn a_jump_behind_a_slow_look_is_seen() {
        assert_eq!(seen(&[(0, 0, 1), (20, 20, 1), (90, 21, 4_000), (92, 26, 1)]), [None, Some(true), None, None]);
    }
}
