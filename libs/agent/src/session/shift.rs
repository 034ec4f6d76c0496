//! A worker at work: opens Claim, starts a run for every assignment, gives a credit back for every run that ended, and
//! drains. It owns every run's task.

use super::claims::{self, ClaimStream, OpenError, Outbox, Session};
use super::heartbeat::Notice;
use super::held::Held;
use super::worker::{WorkerConfig, WorkerError};
use crate::backoff::Delays;
use crate::control::Control;
use crate::run::{self, Assigned, Kit};
use crate::trace;
use runmesh_domain::Refusal;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::pb::worker::claim_response::Message as Incoming;
use runmesh_wire::pb::worker::{Assignment, CancelHint, ClaimResponse, Hello, Lease, Revoke};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::Instrument as _;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// How long runs may take to give themselves back once nothing is waited for any more.
const RELEASE_WAIT: Duration = Duration::from_secs(3);

/// Why a Claim stream is no longer served.
enum Left {
    /// It broke: open it again.
    Broken,
    /// The mesh wants it elsewhere; the old one is kept until the new one is open.
    Moved,
    /// The session is over.
    SessionLost,
    /// The worker drains.
    Draining,
}

/// A worker at work.
pub(super) struct Shift {
    config: WorkerConfig,
    kit: Kit,
    held: Arc<Held>,
    session: Option<Session>,
    sessions: watch::Sender<Option<Session>>,
    notices: mpsc::Receiver<Notice>,
    /// The answers of the stream that was served before this one, until the mesh ends it.
    leaving: Option<Streaming<ClaimResponse>>,
    pub(super) runs: JoinSet<()>,
    drain: CancellationToken,
    hurry: CancellationToken,
}

impl Shift {
    pub(super) fn new(
        config: WorkerConfig,
        held: Arc<Held>,
        sessions: watch::Sender<Option<Session>>,
        notices: mpsc::Receiver<Notice>,
        drain: CancellationToken,
    ) -> Self {
        let kit = Kit {
            provider: config.provider.clone(),
            toolbox: config.toolbox.clone(),
            channels: config.channels.clone(),
            credentials: config.credentials.clone(),
        };
        let hurry = CancellationToken::new();
        Self { config, kit, held, session: None, sessions, notices, leaving: None, runs: JoinSet::new(), drain, hurry }
    }

    /// One Claim stream after the other, until the drain is over.
    pub(super) async fn work(&mut self) -> Result<(), WorkerError> {
        let mut delays = Delays::new(RETRY_FIRST, RETRY_MOST);
        let mut stream: Option<ClaimStream> = None;
        loop {
            let drain = self.drain.clone();
            let opened = tokio::select! {
                biased;
                () = drain.cancelled() => break,
                opened = self.open(&mut stream) => opened,
            };
            match opened {
                Ok(opened) => {
                    delays = Delays::new(RETRY_FIRST, RETRY_MOST);
                    if let Some(left) = stream.take() {
                        // Half closed by this: the mesh ends it when it has told of everything that it assigned there.
                        self.leaving = Some(left.inbox);
                    }
                    match self.serve(stream.insert(opened)).await? {
                        Left::Draining => break,
                        Left::Moved => {}
                        Left::Broken => stream = None,
                        Left::SessionLost => {
                            stream = None;
                            self.lose_session();
                        }
                    }
                }
                Err(OpenError::SessionLost) if self.session.is_some() => {
                    self.lose_session();
                    continue;
                }
                Err(error) => tracing::warn!(%error, "claim not opened"),
            }
            tokio::select! {
                () = drain.cancelled() => break,
                () = self.hearing(&mut stream, tokio::time::sleep(delays.next())) => {}
            }
        }
        self.drain_out(stream).await;
        Ok(())
    }

    /// Opens Claim, coming back to the session if there is one. `left` is heard meanwhile.
    async fn open(&mut self, left: &mut Option<ClaimStream>) -> Result<ClaimStream, OpenError> {
        let hello = Hello {
            worker: self.config.name.clone(),
            capacity: i32::try_from(self.config.capacity).unwrap_or(i32::MAX),
            agent_ids: self.config.agent_ids.iter().map(ToString::to_string).collect(),
            tools: self.config.tools.clone(),
            session_id: self.session.as_ref().map(|session| session.id.clone()).unwrap_or_default(),
        };
        let (channel, credentials) = (self.config.channels.claims.clone(), self.config.credentials.clone());
        let opening = async move { claims::open(channel, &credentials, hello).await };
        let (stream, session) = self.hearing(left, opening).await?;
        tracing::info!(session_id = session.id, stream_number = session.stream_number, "claim open");
        self.session = Some(session.clone());
        self.sessions.send_replace(Some(session));
        Ok(stream)
    }

    /// Waits for `what`. Runs that were assigned on the stream that is being left are started meanwhile: nobody else will.
    async fn hearing<T>(&mut self, left: &mut Option<ClaimStream>, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        // What it grants and acknowledges is for no stream: the next one is granted what is free then.
        let mut unsent = Outbox::default();
        loop {
            tokio::select! {
                done = &mut what => return done,
                message = next_message(left.as_mut().map(|left| &mut left.inbox)) => match message {
                    Some(message) => _ = self.take(message, &mut unsent),
                    None => *left = None,
                },
            }
        }
    }

    /// The session is over: its runs stop, and the next one begins with nothing in hand.
    fn lose_session(&mut self) {
        self.leaving = None;
        if let Some(session) = self.session.take() {
            self.sessions.send_replace(None);
            self.held.lose(&session.id);
        }
    }

    async fn serve(&mut self, stream: &mut ClaimStream) -> Result<Left, WorkerError> {
        while self.runs.try_join_next().is_some() {}
        let in_hand = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let mut outbox = Outbox::with_credits(self.config.capacity.saturating_sub(in_hand));
        // Runs in hand beyond those that the credits were counted with.
        let mut late = 0_u32;
        loop {
            tokio::select! {
                () = self.drain.cancelled() => return Ok(Left::Draining),
                notice = self.notices.recv() => match notice {
                    Some(Notice::Move) => return Ok(Left::Moved),
                    Some(Notice::Lost(id)) if self.session.as_ref().is_some_and(|session| session.id == id) => {
                        return Ok(Left::SessionLost);
                    }
                    Some(Notice::Lost(_)) => {}
                    None => return Err(WorkerError::HeartbeatsEnded),
                },
                message = stream.inbox.message() => match message {
                    Ok(Some(message)) => if self.take(message, &mut outbox) { return Ok(Left::Moved) },
                    Ok(None) => return Ok(Left::Broken),
                    Err(status) => {
                        tracing::info!(%status, "claim broke");
                        return Ok(Left::Broken);
                    }
                },
                message = next_message(self.leaving.as_mut()) => match message {
                    Some(message) => late += self.take_late(message),
                    None => self.leaving = None,
                },
                Some(ended) = self.runs.join_next() => {
                    log_end(ended);
                    if late > 0 { late -= 1 } else { outbox.add_credit() }
                }
                permit = stream.outbox.reserve(), if !outbox.is_empty() => match permit {
                    Ok(permit) => permit.send(outbox.next()),
                    Err(_) => return Ok(Left::Broken),
                },
            }
        }
    }

    /// Acts on a message of the mesh; true when Claim is to be opened elsewhere.
    fn take(&mut self, message: ClaimResponse, outbox: &mut Outbox) -> bool {
        match message.message {
            Some(Incoming::Assignment(assignment)) => self.start(assignment, outbox),
            Some(Incoming::Revoke(Revoke { lease: Some(lease) })) => self.held.with_lease(lease, |control| control.lost.cancel()),
            Some(Incoming::Cancel(CancelHint { lease: Some(lease) })) => {
                self.held.with_lease(lease, |control| control.cancel.cancel());
            }
            Some(Incoming::Revoke(Revoke { lease: None }) | Incoming::Cancel(CancelHint { lease: None })) => {}
            Some(Incoming::Drain(_)) => return true,
            Some(Incoming::Welcome(_)) | None => {}
        }
        false
    }

    /// Acts on a message of the stream that was left; answers how many runs it started.
    fn take_late(&mut self, message: ClaimResponse) -> u32 {
        let before = self.runs.len();
        self.take(message, &mut Outbox::default());
        u32::from(self.runs.len() > before)
    }

    /// Starts a run. One that cannot be read is given back at once: another worker may be of a newer version.
    fn start(&mut self, assignment: Assignment, outbox: &mut Outbox) {
        let (lease, run_token) = (assignment.lease.clone(), assignment.run_token.clone());
        let mut assigned = match Assigned::of(assignment) {
            Ok(assigned) => assigned,
            Err(refusal) => return self.give_back(lease, run_token, &refusal, outbox),
        };
        let control = Arc::new(Control::new(assigned.run_token.clone(), self.drain.clone(), self.hurry.clone()));
        let session = self.session.as_ref().map_or("", |session| &session.id);
        let Some(guard) = self.held.take(assigned.held, session, Arc::clone(&control)) else {
            return outbox.add_credit();
        };
        outbox.add_ack(lease.unwrap_or_default());
        let span = trace::run(assigned.held, &assigned.traceparent);
        assigned.traceparent = trace::traceparent(&span, assigned.traceparent);
        let kit = self.kit.clone();
        let task = async move {
            run::drive(kit, assigned, control).await;
            drop(guard);
        };
        self.runs.spawn(task.instrument(span));
    }

    /// Releases a run that cannot be read. It counts as in hand until then, so that its lease lasts for the release.
    fn give_back(&mut self, lease: Option<Lease>, run_token: String, refusal: &Refusal, outbox: &mut Outbox) {
        let held: Result<HeldRun, _> = lease.clone().unwrap_or_default().from_wire("lease");
        let Ok(held) = held else {
            tracing::error!(%refusal, "this worker cannot read an assignment, not even which run it names; its lease will run out");
            return outbox.add_credit();
        };
        tracing::error!(run = %held.run, fence = held.fence, %refusal, "this worker cannot read an assignment and releases its run");
        let control = Arc::new(Control::new(run_token, self.drain.clone(), self.hurry.clone()));
        let session = self.session.as_ref().map_or("", |session| &session.id);
        let Some(guard) = self.held.take(held, session, Arc::clone(&control)) else {
            return outbox.add_credit();
        };
        outbox.add_ack(lease.unwrap_or_default());
        let kit = self.kit.clone();
        self.runs.spawn(async move {
            run::give_back(kit, held, control).await;
            drop(guard);
        });
    }

    /// Waits for the runs to give themselves back. The stream stays open meanwhile, so that the mesh does not take the
    /// worker for dead; an assignment that is still on its way goes back at once.
    async fn drain_out(&mut self, mut stream: Option<ClaimStream>) {
        let hurry = tokio::time::sleep(self.config.drain_grace);
        let give_up = tokio::time::sleep(self.config.drain_grace + RELEASE_WAIT);
        tokio::pin!(hurry, give_up);
        let mut unsent = Outbox::default();
        while !self.runs.is_empty() {
            tokio::select! {
                Some(ended) = self.runs.join_next() => log_end(ended),
                () = &mut hurry, if !self.hurry.is_cancelled() => self.hurry.cancel(),
                () = &mut give_up => {
                    tracing::warn!(runs = self.runs.len(), "drained without every run given back");
                    return;
                }
                message = next_message(stream.as_mut().map(|stream| &mut stream.inbox)) => match message {
                    Some(message) => _ = self.take(message, &mut unsent),
                    None => stream = None,
                },
                message = next_message(self.leaving.as_mut()) => match message {
                    Some(message) => _ = self.take(message, &mut unsent),
                    None => self.leaving = None,
                },
            }
        }
    }
}

/// The next message of the stream while there is one; waits for ever when there is none.
async fn next_message(inbox: Option<&mut Streaming<ClaimResponse>>) -> Option<ClaimResponse> {
    match inbox {
        Some(inbox) => inbox.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

fn log_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a run's task broke");
    }
}
