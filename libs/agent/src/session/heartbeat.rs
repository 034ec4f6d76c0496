//! Heartbeats, on a thread and a runtime of their own, so that heavy work elsewhere cannot cost the leases.
//!
//! Here the worker decides by its own clock that its leases may have ended: time counts from when the last answered
//! heartbeat that renewed them was sent, or the session was opened.

use super::claims::Session;
use super::clock::Moment;
use super::held::Held;
use super::reply::{self, Verdict};
use crate::mesh::{Caller, Channels, Credentials};
use runmesh_wire::channel::MeshChannel;
use runmesh_wire::pb::worker::HeartbeatRequest;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The worker stops this part of a lease before it ends.
const MARGIN: u32 = 10;
/// A heartbeat that got no answer is repeated after this part of the period.
const REPEAT: u32 = 5;

/// What the heartbeats tell the session's loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The session of this id is over; its runs have been told.
    Lost(String),
    /// Claim is to be opened elsewhere.
    Move,
}

/// Everything that the thread needs.
pub(super) struct Heart {
    pub(super) channels: Channels,
    pub(super) credentials: Credentials,
    pub(super) held: Arc<Held>,
    /// The session, once there is one.
    pub(super) sessions: watch::Receiver<Option<Session>>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) stop: CancellationToken,
}

/// The state of the current session's leases.
struct Pulse {
    session: Session,
    /// When the last heartbeat that renewed the leases was sent.
    good: Moment,
    /// The stream that the mesh wanted moved already.
    moved: Option<i64>,
}

/// Why there is nothing more to beat for.
enum Over {
    /// The mesh said so, or the leases may have ended.
    Lost,
    /// The worker's loop gave the session up, and told its runs.
    GivenUp,
    /// The worker's loop is gone.
    Unwatched,
}

impl Heart {
    /// Starts the thread; it ends when `stop` is set or the session's loop is gone.
    pub(super) fn start(self) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(self.run()),
                Err(error) => {
                    // The worker sees its notices end and gives up.
                    tracing::error!(%error, "no runtime for heartbeats");
                }
            }
        })
    }

    async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.beat_on() => {}
        }
    }

    /// One session after the other.
    async fn beat_on(&mut self) {
        let channel = (self.channels.heartbeats)();
        let mut over = None;
        loop {
            let wanted = |session: &Option<Session>| session.as_ref().is_some_and(|session| Some(&session.id) != over.as_ref());
            let Ok(session) = self.sessions.wait_for(wanted).await.map(|session| session.clone()) else { return };
            let Some(session) = session else { continue };
            let id = session.id.clone();
            match self.beat_session(&channel, session).await {
                Over::Unwatched => return,
                Over::GivenUp => {}
                Over::Lost => {
                    tracing::warn!(session_id = id, "worker session lost");
                    self.held.lose(&id);
                    // A loop that is behind with its notices finds the session gone when it opens Claim again.
                    let _ = self.notices.try_send(Notice::Lost(id.clone()));
                }
            }
            over = Some(id);
        }
    }

    /// Beats until the session is over.
    async fn beat_session(&mut self, channel: &MeshChannel, session: Session) -> Over {
        let mut pulse = Pulse { good: session.opened, session, moved: None };
        let mut wait = pulse.session.period;
        loop {
            tokio::select! {
                changed = self.sessions.changed() => {
                    if changed.is_err() {
                        return Over::Unwatched;
                    }
                    let now = self.sessions.borrow_and_update().clone();
                    match now {
                        Some(now) if now.id == pulse.session.id => pulse.session = now,
                        Some(_) | None => return Over::GivenUp,
                    }
                }
                () = self.held.beat_wanted() => {}
                () = tokio::time::sleep(wait.min(pulse.left())) => {}
            }
            if pulse.left().is_zero() {
                return Over::Lost;
            }
            wait = match self.beat_once(channel, &mut pulse).await {
                Some(Verdict::Lost) => return Over::Lost,
                Some(Verdict::Lives { .. }) => pulse.session.period,
                None => pulse.session.period / REPEAT,
            };
        }
    }

    /// One heartbeat; nothing when it got no answer.
    async fn beat_once(&self, channel: &MeshChannel, pulse: &mut Pulse) -> Option<Verdict> {
        let Session { id, stream_number, period, .. } = &pulse.session;
        let held = self.held.leases(id);
        let message = HeartbeatRequest { session_id: id.clone(), stream_number: *stream_number, held: held.clone() };
        let mut request = self.credentials.worker_request(message);
        let within = (*period).min(pulse.left());
        request.set_timeout(within);
        let sent = Moment::now();
        let mut client = WorkerServiceClient::new(Caller(channel.clone()));
        let reply = match tokio::time::timeout(within, client.heartbeat(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(%status, "heartbeat failed");
                return None;
            }
            Err(_) => {
                tracing::debug!("heartbeat got no answer in time");
                return None;
            }
        };
        let verdict = reply::apply(reply, &held, &self.held);
        if let Verdict::Lives { renewed, drain } = verdict {
            if renewed {
                pulse.good = sent;
            }
            if drain && pulse.moved != Some(pulse.session.stream_number) {
                pulse.moved = Some(pulse.session.stream_number);
                // When the loop is behind with its notices, the next answer says it again.
                pulse.moved = self.notices.try_send(Notice::Move).ok().and(pulse.moved);
            }
        }
        Some(verdict)
    }
}

impl Pulse {
    /// How long the leases surely last.
    fn left(&self) -> Duration {
        let sure = self.session.lease - self.session.lease / MARGIN;
        sure.saturating_sub(self.good.elapsed())
    }
}
