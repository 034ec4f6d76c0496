//! The Claim stream: a worker session's life on this replica.

use crate::commands::sessions::{CloseSession, CutLease, ForgetLock, OpenSession, OpenStream, ReopenSession};
use crate::ids::new_uuid;
use crate::reaper::Reaper;
use crate::sessions::{ANSWERS_MAX, Sessions, Stream};
use crate::{builtin, principal};
use runmesh_command::WorkSignal;
use runmesh_domain::id::{AgentId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::WorkerCredential;
use runmesh_domain::{Error, Fault, Refusal, Result, limits, text};
use runmesh_host::Lifecycle;
use runmesh_store::sessions::{Alive, NewSession};
use runmesh_store::{Db, Scope, sessions};
use runmesh_wire::convert::journal::HeldRun;
use runmesh_wire::convert::{id, required, unsigned};
use runmesh_wire::pb::worker as pb;
use runmesh_wire::{FromWire as _, IntoWire as _, status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status, Streaming};

/// How long a new stream may take to say hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// What the worker hears.
pub type Answers = ReceiverStream<Result<pb::ClaimResponse, Status>>;

/// Serves the Claim streams of this replica. Clones share everything.
#[derive(Clone)]
pub struct ClaimStreams {
    pub db: Db,
    pub sessions: Arc<Sessions>,
    pub work: Arc<WorkSignal>,
    pub reaper: Reaper,
    pub leases: Leases,
    pub life: Lifecycle,
    /// Counts the streams under way.
    pub tasks: TaskTracker,
}

impl ClaimStreams {
    /// Serves one Claim stream; the answer begins at once, the rest goes on by itself.
    pub fn serve(&self, request: Request<Streaming<pb::ClaimRequest>>) -> Result<Answers> {
        let credential = principal::worker(&request)?;
        if self.life.is_draining() {
            return Err(Refusal::Draining.into());
        }
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let streams = self.clone();
        let requests = request.into_inner();
        self.tasks.spawn(async move {
            if let Err(error) = streams.serve_claim(credential, requests, answers.clone()).await {
                // Nobody reads the error of a worker that is gone.
                drop(answers.try_send(Err(status::of(&error))));
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    async fn serve_claim(
        &self,
        credential: WorkerCredential,
        mut requests: Streaming<pb::ClaimRequest>,
        answers: mpsc::Sender<Result<pb::ClaimResponse, Status>>,
    ) -> Result<()> {
        let hello = first_hello(&mut requests).await?;
        let is_ours = credential.id == builtin::CREDENTIAL;
        let stream = self.open_session(credential, hello, answers).await?;
        let mut alive = if is_ours { self.hold_alive(&stream).await } else { None };
        self.sessions.insert(&stream);
        // It may serve what nobody could so far.
        self.work.work_arrived();
        let ended = tokio::select! {
            ended = self.follow(&stream, &mut requests) => ended,
            () = lost(&mut alive) => Ended::LockLost,
        };
        self.sessions.remove(&stream);
        // Free for the session's next stream.
        drop(alive);
        match ended {
            Ended::Orderly => self.close_session(&stream).await,
            Ended::Broken => self.cut(&stream).await,
            Ended::Refused(refusal) => {
                let refused = Err(status::of(&refusal.into()));
                // A worker that does not read its answers sees its stream end.
                drop(stream.answers.send_timeout(refused, REFUSAL_LIMIT).await);
                self.cut(&stream).await
            }
            Ended::LockLost => self.live_on(&stream).await,
            Ended::Draining => Ok(()),
        }
    }

    /// The worker inside this very process dies with whoever would see its stream break: Postgres sees it instead.
    async fn hold_alive(&self, stream: &Stream) -> Option<Alive> {
        let session = stream.session;
        match sessions::hold_alive(&self.db, session, stream.number).await {
            Ok(alive) => Some(alive),
            Err(error) => {
                tracing::warn!(%session, %error, "no lock for the session: should this process die, its runs wait for the lease");
                None
            }
        }
    }

    /// The lock is lost and the worker is not: the end of its stream makes it open the next one, with a lock of its own, while
    /// its session is kept from being taken for dead. Past a lease there is nothing to keep.
    async fn live_on(&self, stream: &Stream) -> Result<()> {
        let (session, open) = (stream.session, OpenStream { session: stream.session, number: stream.number });
        tracing::warn!(%session, "the lock of the session was lost");
        let lost = Fault::Unavailable { part: "postgres", detail: "the lock of the session was lost".into() };
        drop(stream.answers.try_send(Err(status::of(&lost.into()))));
        let forget = async {
            while let Err(error) = self.db.run(Scope::System, ForgetLock(open)).await {
                tracing::debug!(%session, %error, "the lock is not forgotten yet");
                tokio::time::sleep(FORGET_AGAIN).await;
            }
        };
        let forget = self.life.soft().run_until_cancelled(forget);
        if tokio::time::timeout(self.leases.lease(), forget).await.is_err() {
            tracing::debug!(%session, "the lock was not forgotten within a lease");
        }
        Ok(())
    }

    async fn open_session(
        &self,
        credential: WorkerCredential,
        hello: pb::Hello,
        answers: mpsc::Sender<Result<pb::ClaimResponse, Status>>,
    ) -> Result<Arc<Stream>> {
        let pb::Hello { worker, capacity, agent_ids, tools, session_id } = hello;
        text::at_most_chars("hello.worker", &worker, 128)?;
        let capacity: u32 = unsigned("hello.capacity", capacity)?;
        if !(1..=limits::WORKER_CAPACITY_MAX).contains(&capacity) {
            return Err(Refusal::field("hello.capacity", format!("want 1 to {}", limits::WORKER_CAPACITY_MAX)).into());
        }
        if tools.len() > limits::TOOLS_MAX {
            return Err(Refusal::field("hello.tools", format!("at most {}", limits::TOOLS_MAX)).into());
        }
        tools.iter().try_for_each(|tool| text::at_most_bytes("hello.tools", tool, limits::NAME_BYTES_MAX))?;
        let agents = agent_ids.iter().map(|agent| id("hello.agent_ids", agent)).collect::<Result<Vec<AgentId>, Refusal>>()?;
        let (session, number) = if session_id.is_empty() {
            self.new_session(credential, worker, capacity, agents, tools).await?
        } else {
            let session = id("hello.session_id", &session_id)?;
            (session, self.db.run(Scope::System, ReopenSession { session, credential, leases: self.leases }).await?)
        };
        let welcome = pb::Welcome {
            session_id: session.to_string(),
            lease_duration: Some(self.leases.lease().into_wire()),
            heartbeat_period: Some(self.leases.heartbeat().into_wire()),
            stream_number: number,
        };
        let message = pb::ClaimResponse { message: Some(pb::claim_response::Message::Welcome(welcome)) };
        if answers.send(Ok(message)).await.is_err() {
            return Err(Refusal::SessionLost.into());
        }
        Ok(Arc::new(Stream::new(session, number, capacity, answers, Arc::clone(&self.work))))
    }

    async fn new_session(
        &self,
        credential: WorkerCredential,
        worker: String,
        capacity: u32,
        agents: Vec<AgentId>,
        tools: Vec<String>,
    ) -> Result<(SessionId, i64)> {
        let session = SessionId::from_uuid(new_uuid());
        let new = NewSession { id: session, worker, capacity, credential, agents, tools };
        let number = self.db.run(Scope::System, OpenSession { new, leases: self.leases }).await?;
        Ok((session, number))
    }

    /// Reads credits until the stream ends or this replica drains.
    async fn follow(&self, stream: &Stream, requests: &mut Streaming<pb::ClaimRequest>) -> Ended {
        let soft = self.life.soft().clone();
        loop {
            let message = tokio::select! {
                message = requests.message() => message,
                () = stream.answers.closed() => return Ended::Broken,
                () = soft.cancelled() => {
                    // Before the worker hears of it: what is claimed for a stream that it leaves would be lost.
                    self.sessions.remove(stream);
                    let drain = pb::claim_response::Message::Drain(pb::Drain {});
                    drop(stream.answers.send(Ok(pb::ClaimResponse { message: Some(drain) })).await);
                    return self.after_drain(requests).await;
                }
            };
            match message {
                Ok(Some(pb::ClaimRequest { message })) => {
                    if let Err(refusal) = take_message(stream, message) {
                        return Ended::Refused(refusal);
                    }
                }
                Ok(None) => return Ended::Orderly,
                Err(error) => return status::of_unread(&error).map_or(Ended::Broken, Ended::Refused),
            }
        }
    }

    /// After Drain the worker closes the stream when it has moved; it has until the hard stop to do so.
    async fn after_drain(&self, requests: &mut Streaming<pb::ClaimRequest>) -> Ended {
        loop {
            match requests.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ended::Orderly,
                Err(_) => return Ended::Draining,
            }
        }
    }

    /// The worker is done with the stream. The session goes with it, unless it has moved to a newer one.
    async fn close_session(&self, stream: &Stream) -> Result<()> {
        self.db.run(Scope::System, CloseSession(OpenStream { session: stream.session, number: stream.number })).await
    }

    /// The stream broke: the lease is cut to a second, and the runs that can be redone are taken back then, unless the worker
    /// comes back first.
    async fn cut(&self, stream: &Stream) -> Result<()> {
        self.db.run(Scope::System, CutLease(OpenStream { session: stream.session, number: stream.number })).await?;
        tokio::time::sleep(CUT_LEASE).await;
        self.reaper.reap().await
    }
}

/// Acts on what a worker says after its hello.
fn take_message(stream: &Stream, message: Option<pb::claim_request::Message>) -> Result<(), Refusal> {
    match required("message", message)? {
        pb::claim_request::Message::Credits(pb::Credits { add }) => {
            let add: u32 = unsigned("credits.add", add)?;
            if !(1..=limits::WORKER_CAPACITY_MAX).contains(&add) {
                return Err(Refusal::field("credits.add", format!("want 1 to {}", limits::WORKER_CAPACITY_MAX)));
            }
            stream.add(add);
        }
        pb::claim_request::Message::Ack(pb::AssignmentAck { lease }) => {
            let HeldRun { run, fence } = required("ack.lease", lease)?.from_wire("ack.lease")?;
            tracing::trace!(session = %stream.session, %run, fence, "assignment acknowledged");
        }
        pb::claim_request::Message::Hello(_) => return Err(Refusal::field("hello", "comes once, as the first message")),
    }
    Ok(())
}

/// How long a worker may take to make room for the word that what it said was refused.
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);

/// Waits for the loss of a lock; for ever when there is none.
async fn lost(alive: &mut Option<Alive>) {
    match alive {
        Some(alive) => alive.lost().await,
        None => std::future::pending().await,
    }
}

/// The pause between tries to forget a lock: Postgres may be starting again, and reaps as soon as it has.
const FORGET_AGAIN: Duration = Duration::from_millis(100);

/// What a cut leaves of a lease, and a little more, so that the reaper at its end finds it over.
const CUT_LEASE: Duration = Duration::from_millis(1_020);

enum Ended {
    /// The worker said goodbye.
    Orderly,
    /// The stream broke.
    Broken,
    /// The worker said what it must not.
    Refused(Refusal),
    /// The lock that says that this process lives is gone.
    LockLost,
    /// This replica is going down.
    Draining,
}

async fn first_hello(requests: &mut Streaming<pb::ClaimRequest>) -> Result<pb::Hello> {
    let first = tokio::time::timeout(HELLO_DEADLINE, requests.message()).await;
    let wanted = || Error::from(Refusal::field("hello", "must come first, within ten seconds"));
    let first = first.map_err(|_| wanted())?;
    let message = first.map_err(|status| status::of_unread(&status).map_or_else(wanted, Error::from))?.ok_or_else(wanted)?;
    match required("message", message.message)? {
        pb::claim_request::Message::Hello(hello) => Ok(hello),
        pb::claim_request::Message::Credits(_) | pb::claim_request::Message::Ack(_) => Err(wanted()),
    }
}
