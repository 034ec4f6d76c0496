//! One attached stream, as a machine that makes its next frame when somebody asks for it. A viewer that does not read costs
//! what it holds, and nothing is queued for it: when it reads again it takes what is at hand, or reads the log.

mod begin;
mod ended;
mod read;

pub use begin::From;

use crate::frames;
use crate::hub::{Since, Watching};
use crate::limits;
use crate::relay::Relay;
use crate::shown::Shown;
use crate::truth::{For, Journal, Waits};
use ended::EndedRun;
use read::Reading;
use runmesh_bus::RunKey;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::limits::ATTACH_KEEPALIVE;
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Fault, Result};
use runmesh_wire::pb::{relay, stream as pb};
use runmesh_wire::status;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

type Frame = relay::AttachRunResponse;

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    relay: Relay,
    key: RunKey,
    source: Source,
    /// The last thing that the client was sent; before the beginning, what it has already.
    at: Cursor,
    /// The run's state as far as it was shown.
    state: StateName,
    out: VecDeque<Frame>,
    reading: Option<Reading>,
    waits: Waits,
    shown_status: Option<pb::Status>,
    last_frame: Instant,
    next: Next,
    /// When the caller's credentials end.
    until: Instant,
}

#[derive(Debug)]
enum Source {
    /// A run that goes on.
    Watched { run: Watching, changes: watch::Receiver<u64> },
    /// A run that is over.
    Ended(EndedRun),
}

/// What comes after the frames that wait.
#[derive(Debug, Clone, Copy)]
enum Next {
    Begin(From),
    Snapshot(Option<pb::reset::Reason>),
    /// Find what follows `at`.
    Seek,
    /// Wait for something to follow it.
    Wait,
    /// Ask Postgres and end.
    GiveUp,
    Over,
}

impl Viewer {
    /// The next frame; none after the last. Not cancel safe: a stream that is dropped is over.
    pub async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                self.last_frame = Instant::now();
                return Some(Ok(frame));
            }
            let next = self.next;
            if matches!(next, Next::Over) {
                return None;
            }
            // Nothing waits to be sent, so `at` is what the client has. Whatever the step does meanwhile (a replay, a fold, a wait),
            // it is dropped.
            let ending = self.relay.ending(self.until);
            let stepped = tokio::select! {
                biased;
                why = ending => Ok(self.leave(why)),
                stepped = self.step_or_wait(next) => stepped,
            };
            match stepped {
                Ok(next) => self.next = next,
                Err(error) => {
                    self.next = Next::Over;
                    tracing::error!(run = %self.key.run, %error, "a viewer's stream failed");
                    return Some(Err(status::of(&error)));
                }
            }
        }
    }

    /// The last thing that the client was sent, once it was sent everything.
    pub const fn at(&self) -> Cursor {
        self.at
    }

    /// The run's state as far as it was shown.
    pub const fn state(&self) -> StateName {
        self.state
    }

    /// Whether the run is over and `at` covers everything of it.
    pub fn has_ended_at(&self, at: Cursor) -> bool {
        match &self.source {
            Source::Ended(run) => matches!(run.since(at), Some(Since::UpToDate)),
            Source::Watched { run, .. } => run.is_over() && matches!(run.since(at.seq, at.chain), Since::UpToDate),
        }
    }

    /// A part that is away is waited for.
    async fn step_or_wait(&mut self, next: Next) -> Result<Next> {
        match self.step(next).await {
            Err(Error::Fault(Fault::Unavailable { part, detail })) => {
                tracing::debug!(run = %self.key.run, part, detail, "a viewer waits for a part that is away");
                Ok(self.wait_for_part(next).await)
            }
            stepped => stepped,
        }
    }

    async fn step(&mut self, next: Next) -> Result<Next> {
        match next {
            Next::Begin(from) => self.begin(from).await,
            Next::Snapshot(reset) => self.snapshot(reset).await,
            Next::Seek => self.seek().await,
            Next::Wait => Ok(self.wait().await),
            Next::GiveUp => self.give_up().await,
            Next::Over => Ok(Next::Over),
        }
    }

    /// Finds what follows the last thing sent: at hand, or in the log.
    async fn seek(&mut self) -> Result<Next> {
        let since = match &mut self.source {
            Source::Ended(run) => match run.since(self.at) {
                Some(since) => since,
                None => return self.without_log().await,
            },
            Source::Watched { run, changes } => {
                // Marked before it is looked at, so that no change falls between.
                changes.mark_unchanged();
                if run.is_given_up() {
                    return Ok(Next::GiveUp);
                }
                run.since(self.at.seq, self.at.chain)
            }
        };
        match since {
            Since::Batches(batches) => Ok(self.send(&batches)),
            Since::UpToDate if matches!(self.source, Source::Ended(_)) => Ok(self.finish()),
            Since::UpToDate if self.tail_is_finished() => Ok(self.finish()),
            Since::UpToDate | Since::Unknown => {
                self.reading = None;
                Ok(self.show_status())
            }
            Since::Ahead => self.confirm().await,
            Since::Older => self.read_or_share().await,
            Since::Forked => Ok(Next::Snapshot(Some(pb::reset::Reason::LogForked))),
        }
    }

    /// The log of a run that is over does not hold its end. A log that is away for a moment is waited for, before Postgres answers.
    async fn without_log(&mut self) -> Result<Next> {
        let Source::Ended(run) = &mut self.source else { return Ok(Next::Seek) };
        let Some(away_since) = run.away_since() else {
            return Ok(Next::Snapshot(Some(pb::reset::Reason::LogTruncated)));
        };
        run.look(&self.relay, self.key).await;
        if run.away_since().is_none() {
            return Ok(Next::Seek);
        }
        if away_since.elapsed() >= limits::GIVE_UP {
            return Ok(Next::Snapshot(Some(pb::reset::Reason::LogBehind)));
        }
        Err(Fault::Unavailable { part: "nats", detail: "the log of an ended run cannot be read".into() }.into())
    }

    fn tail_is_finished(&self) -> bool {
        match &self.source {
            Source::Watched { run, .. } => run.is_over(),
            Source::Ended(_) => true,
        }
    }

    fn send(&mut self, batches: &[Arc<Shown>]) -> Next {
        self.reading = None;
        let end = batches.iter().find_map(|batch| batch.end());
        let (frames, at) = frames::events(self.at, batches);
        self.at = at;
        self.out.extend(frames);
        end.map_or(Next::Seek, |state| {
            self.state = state;
            self.finish()
        })
    }

    /// Everything of the run was sent.
    fn finish(&mut self) -> Next {
        self.leave(pb::end::Reason::Finished)
    }

    fn leave(&mut self, why: pb::end::Reason) -> Next {
        // Nobody knows yet where a stream is that was to begin with what comes next.
        let at = Some(self.at).filter(|_| !matches!(self.next, Next::Begin(From::Live)));
        self.out.push_back(frames::end(why, at, self.state));
        Next::Over
    }

    /// A place beyond the tail is asked of the leader before it is called lost; and a log that lost its end may go on from
    /// that very place once it is brought up.
    async fn confirm(&mut self) -> Result<Next> {
        let mut tail: Tail = self.relay.bus.log().tail_reaching(self.key, self.at.seq).await?;
        if tail.seq < self.at.seq {
            tail = self.relay.bring_up(For::Viewer, self.key, tail).await?;
        }
        if tail.seq < self.at.seq || (tail.seq == self.at.seq && tail.chain != self.at.chain) {
            return Ok(Next::Snapshot(Some(pb::reset::Reason::LogForked)));
        }
        if let Source::Watched { run, .. } = &self.source {
            run.look();
        }
        if tail.seq > self.at.seq { self.read().await } else { Ok(Next::Wait) }
    }

    /// Says what the run waits for when that is news; then waits for more of the log.
    fn show_status(&mut self) -> Next {
        let Source::Watched { run, .. } = &self.source else { return Next::Wait };
        if let Some(waits) = run.waits() {
            self.waits = waits;
            self.state = waits.state;
        }
        let status = self.waits.status(run.is_log_away());
        let is_said = self.shown_status == status;
        self.shown_status = status;
        match status {
            Some(status) if !is_said => {
                self.out.push_back(frames::status(status));
                Next::Seek
            }
            Some(_) | None => Next::Wait,
        }
    }

    async fn wait(&mut self) -> Next {
        let Source::Watched { changes, .. } = &mut self.source else { return Next::Seek };
        tokio::select! {
            changed = changes.changed() => if changed.is_ok() { Next::Seek } else { self.leave(pb::end::Reason::Draining) },
            () = sleep_until(self.last_frame + ATTACH_KEEPALIVE) => {
                self.out.push_back(frames::progress(self.at));
                Next::Seek
            }
        }
    }

    /// A part is away: says so once, and tries the same again a little later.
    async fn wait_for_part(&mut self, again: Next) -> Next {
        self.reading = None;
        let status = pb::Status { log_unavailable: true, ..self.waits.as_status() };
        if self.shown_status.replace(status) != Some(status) {
            self.out.push_back(frames::status(status));
            return again;
        }
        if self.last_frame.elapsed() >= ATTACH_KEEPALIVE {
            self.out.push_back(frames::alive(self.at));
        }
        sleep(limits::RETRY).await;
        again
    }

    async fn give_up(&mut self) -> Result<Next> {
        let journal = self.relay.truth.journal(self.key.org, self.key.run).await?;
        if journal.finished.is_none() {
            return Ok(Next::Wait);
        }
        Ok(self.show_journal(journal, None, Some(pb::reset::Reason::LogBehind)))
    }

    /// The state as Postgres has it. `tail` is where the log ends when it holds the run's end. Without it, the cursor is where a worker
    /// last journaled: the log shows again what it said since, and nothing that the client was not shown is passed over.
    fn show_journal(&mut self, journal: Journal, tail: Option<Tail>, reset: Option<pb::reset::Reason>) -> Next {
        self.out.extend(reset.map(frames::reset));
        let is_over = journal.finished.is_some();
        self.at = match tail {
            Some(tail) => self.at.at_tail(&tail),
            None if is_over => self.at.at(journal.position.seq, journal.position.chain).at_end(),
            None => self.at.at(journal.position.seq, journal.position.chain),
        };
        self.reading = None;
        self.state = journal.state;
        self.out.extend(frames::snapshot(journal.into_view(self.at.seq, self.at.chain), self.at, true));
        if is_over { self.finish() } else { Next::Seek }
    }

    /// The state folded so far, after a reset when what the client holds is void.
    async fn snapshot(&mut self, reset: Option<pb::reset::Reason>) -> Result<Next> {
        let run = match &mut self.source {
            Source::Ended(run) => {
                let (journal, tail) = run.journal(&self.relay, self.key).await?;
                return Ok(self.show_journal(journal, tail, reset));
            }
            Source::Watched { run, .. } => run,
        };
        let snapshot = match run.ready().await {
            Ok(_) => run.snapshot(&self.relay).await,
            Err(error) => Err(error),
        };
        let snapshot = match snapshot {
            Ok(Some(snapshot)) => snapshot,
            // Without the log, the journal is shown first; what the log says goes on from there once it is back.
            Ok(None) | Err(Error::Fault(Fault::Unavailable { .. })) => {
                let journal = self.relay.truth.journal(self.key.org, self.key.run).await?;
                return Ok(self.show_journal(journal, None, reset));
            }
            Err(error) => return Err(error),
        };
        self.out.extend(reset.map(frames::reset));
        self.at = snapshot.at;
        self.reading = None;
        self.out.extend(snapshot.frames.iter().cloned());
        Ok(snapshot.end.map_or(Next::Seek, |state| {
            self.state = state;
            self.finish()
        }))
    }
}
