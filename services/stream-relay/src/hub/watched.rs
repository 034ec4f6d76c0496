//! One watched run: what is at hand of it, who is told of news, and what Postgres says of it.

use super::fill::Filling;
use super::snapshot::{Snapshot, Snapshots};
use super::warm::{Since, Taken, View, Warm};
use crate::fold::Folding;
use crate::limits;
use crate::pace::Pace;
use crate::relay::Relay;
use crate::shown::Shown;
use crate::truth::Waits;
use runmesh_bus::RunKey;
use runmesh_domain::chain::Chain;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::fold::RunView;
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_domain::{Fault, Result};
use runmesh_host::random;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A run that is followed.
#[derive(Debug)]
pub struct Watched {
    key: RunKey,
    state: Mutex<State>,
    /// Counts changes of the state: viewers wait for it.
    changes: watch::Sender<u64>,
    /// Tells the follower to look at the log.
    poke: Notify,
    /// Wakes the follower, which may end because nobody watches.
    idle: Notify,
    /// Viewers who come together fold the log once.
    snapshots: Snapshots,
    /// Viewers who come back together read it once.
    filling: Filling,
}

#[derive(Debug)]
struct State {
    warm: Warm,
    viewers: usize,
    /// When the last viewer left, or the run was first watched.
    unwatched_since: Instant,
    /// When the run is compared with Postgres.
    pace: Pace,
    /// When the log is looked at for words whose message was lost, and the pause before that.
    words: (Instant, Duration),
    /// Since when Postgres is ahead of the log.
    behind_since: Option<Instant>,
    /// The log cannot be read.
    log_away: bool,
    /// The run is over, and its log cannot be brought up: Postgres answers.
    given_up: bool,
    waits: Option<Waits>,
}

impl State {
    fn note_tail(&mut self) {
        let now = Instant::now();
        self.pace = Pace::begin(now);
        self.words = first_look(now);
        if self.warm.tail().is_some_and(|tail| tail.open) {
            self.waits = Some(Waits::of_state(StateName::Running));
        }
    }
}

/// A viewer's hold on a watched run.
#[derive(Debug)]
pub struct Watching(Arc<Watched>);

impl Watched {
    pub(super) fn new(key: RunKey) -> Self {
        let now = Instant::now();
        let state = State {
            warm: Warm::default(),
            viewers: 0,
            unwatched_since: now,
            pace: Pace::begin(now),
            words: first_look(now),
            behind_since: None,
            log_away: false,
            given_up: false,
            waits: None,
        };
        let (state, changes) = (Mutex::new(state), watch::Sender::new(0));
        Self {
            key,
            state,
            changes,
            poke: Notify::new(),
            idle: Notify::new(),
            snapshots: Snapshots::default(),
            filling: Filling::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The run.
    pub const fn key(&self) -> RunKey {
        self.key
    }

    /// Told of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The tail, once the log was read.
    pub fn tail(&self) -> Option<Tail> {
        self.state().warm.tail()
    }

    /// What is at hand after a place in the log.
    pub fn since(&self, seq: u64, chain: Chain) -> Since {
        self.state().warm.since(seq, chain)
    }

    /// Whether the end of the run is in its log.
    pub fn is_over(&self) -> bool {
        self.tail().is_some_and(|tail| tail.finished)
    }

    /// Has what follows a cursor's place at hand, when that is near enough. Whether it is; else the log is to be read.
    pub async fn reach(&self, relay: &Relay, at: Cursor) -> Result<bool> {
        self.filling.reach(relay, self, at).await
    }

    /// The event before what is at hand, and the stream sequence that the log is known to reach; none when nothing older has room.
    pub(super) fn ring_begins(&self) -> Option<(u64, u64)> {
        let state = self.state();
        let (seq, _) = state.warm.begins()?;
        Some((seq, state.warm.tail()?.stream_seq))
    }

    pub(super) fn put_before(&self, batches: Vec<Arc<Shown>>) -> bool {
        self.state().warm.put_before(batches)
    }

    /// The state at the tail or later, for a viewer. None when the log does not reach what is at hand.
    pub async fn snapshot(&self, relay: &Relay) -> Result<Option<Arc<Snapshot>>> {
        self.snapshots.get(relay, self).await
    }

    /// The view at the tail, folded from the log. None when the log does not reach what is at hand.
    pub(super) async fn view(&self, relay: &Relay) -> Result<Option<RunView>> {
        let mut folding: Option<Folding> = None;
        loop {
            let wanted = self.state().warm.view();
            let (seq, up_to) = match wanted {
                View::Whole(view, batches) => return Ok(Some(folded(view, &batches))),
                View::Cold { seq, up_to } => (seq, up_to),
                View::Unknown => return Err(away()),
            };
            let mut reading = folding.take().unwrap_or_else(|| Folding::new(relay, self.key, up_to));
            if !reading.reach(seq).await? {
                return Ok(None);
            }
            if !self.state().warm.keep(reading.view()) {
                // The ring has moved on meanwhile: go on from here.
                folding = Some(reading);
            }
        }
    }

    /// Has the follower look at the log.
    pub fn look(&self) {
        self.poke.notify_one();
    }

    pub(super) async fn looked_for(&self) {
        self.poke.notified().await;
    }

    pub(super) fn begin(&self, last: Option<Shown>) {
        let mut state = self.state();
        state.warm.begin(last);
        state.note_tail();
        state.log_away = false;
        drop(state);
        self.tell();
    }

    pub(super) fn take(&self, shown: Shown) -> Taken {
        let mut state = self.state();
        let taken = state.warm.take(shown);
        if taken == Taken::Yes {
            state.note_tail();
            drop(state);
            self.tell();
        }
        taken
    }

    /// Says whether the log can be read.
    pub fn set_log_away(&self, away: bool) {
        if std::mem::replace(&mut self.state().log_away, away) != away {
            self.tell();
        }
    }

    /// Whether the log cannot be read.
    pub fn is_log_away(&self) -> bool {
        self.state().log_away
    }

    /// What the run waits for, when Postgres was asked.
    pub fn waits(&self) -> Option<Waits> {
        self.state().waits
    }

    /// Says what the run waits for, unless its log says that it runs: the log may be ahead of what was read. True when it is news.
    pub fn set_waits(&self, waits: Waits) -> bool {
        let mut state = self.state();
        if waits.is_waiting() && state.warm.tail().is_some_and(|tail| tail.open) {
            return false;
        }
        let is_news = state.waits.replace(waits) != Some(waits);
        if is_news {
            state.pace = Pace::begin(Instant::now());
        }
        drop(state);
        if is_news {
            self.tell();
        }
        is_news
    }

    /// Says whether Postgres is ahead of the log; answers for how long it has been.
    pub fn note_behind(&self, is_behind: bool) -> Duration {
        let mut state = self.state();
        if !is_behind {
            state.behind_since = None;
            return Duration::ZERO;
        }
        state.behind_since.get_or_insert_with(Instant::now).elapsed()
    }

    /// Since when the log of an attempt that is open is due to be looked at for words: Postgres knows nothing of them, so nobody
    /// else would notice that the message of the last of them was lost.
    pub fn words_due(&self) -> Option<Instant> {
        let state = self.state();
        let is_due = state.words.0 <= Instant::now() && state.warm.tail().is_some_and(|tail| tail.open);
        is_due.then_some(state.words.0)
    }

    /// Has the follower look at the log for words; the next time is later.
    pub fn look_for_words(&self) {
        let mut state = self.state();
        let pause = (state.words.1 * 2).min(limits::LOOK_AGAIN.1);
        state.words = (Instant::now() + random::jittered(pause), pause);
        drop(state);
        self.look();
    }

    /// It was compared with Postgres, and nothing had changed.
    pub fn slow_down(&self, longest: Duration) {
        self.state().pace.slow_down(Instant::now(), longest);
    }

    /// The run is over and its log cannot be brought up.
    pub fn give_up(&self) {
        self.state().given_up = true;
        self.tell();
    }

    /// Whether Postgres must answer for the run.
    pub fn is_given_up(&self) -> bool {
        self.state().given_up
    }

    pub(super) fn is_watched(&self) -> bool {
        self.state().viewers > 0
    }

    pub(super) fn is_due(&self) -> bool {
        self.state().pace.is_due(Instant::now())
    }

    /// Has the follower see whether anybody watches.
    pub(super) fn may_go(&self) {
        self.idle.notify_one();
    }

    pub(super) async fn idle(&self) {
        self.idle.notified().await;
    }

    pub(super) fn is_unwatched_for(&self, linger: Duration) -> bool {
        let state = self.state();
        state.viewers == 0 && state.unwatched_since.elapsed() >= linger
    }

    /// Waits until the log was read; at most so long that a viewer does not wonder, and not while the log is away.
    pub async fn ready(&self) -> Result<Tail> {
        let mut changes = self.changes();
        let ready = async {
            loop {
                changes.mark_unchanged();
                if let Some(tail) = self.tail() {
                    return Some(tail);
                }
                if self.is_log_away() {
                    return None;
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limits::LOG_WAIT, ready).await.ok().flatten().ok_or_else(away)
    }
}

/// When a log from which something came now is first looked at for words.
fn first_look(now: Instant) -> (Instant, Duration) {
    (now + limits::LOOK_AGAIN.0, limits::LOOK_AGAIN.0)
}

fn folded(view: Arc<RunView>, batches: &[Arc<Shown>]) -> RunView {
    let mut view = Arc::unwrap_or_clone(view);
    batches.iter().for_each(|batch| batch.fold_into(&mut view));
    view
}

fn away() -> runmesh_domain::Error {
    Fault::Unavailable { part: "nats", detail: "the log was not read yet".into() }.into()
}

impl Watching {
    pub(super) fn new(watched: Arc<Watched>) -> Self {
        watched.state().viewers += 1;
        Self(watched)
    }
}

impl Deref for Watching {
    type Target = Watched;

    fn deref(&self) -> &Watched {
        &self.0
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.viewers -= 1;
        state.unwatched_since = Instant::now();
        let was_last = state.viewers == 0;
        drop(state);
        if was_last {
            self.0.snapshots.clear();
            // A run that is over, or a relay that drains, lets it go at once.
            self.0.may_go();
        }
    }
}
