//! The task that carries an attempt's events to a relay: one Append stream at a time, opened again wherever the channel
//! leads when it breaks. It decides nothing about events; the buffer does.
//!
//! A relay that stands still is left: the next one is sent what was not acknowledged, and passes over what the log holds. The picker of
//! the channel chooses the next one: it avoids a backend that a caller left while it was silent.

use super::buffer::Started;
use super::patience::Patience;
use super::{Attempt, Shared};
use crate::backoff::Delays;
use crate::control::Control;
use crate::mesh::{Caller, Credentials};
use runmesh_domain::Refusal;
use runmesh_domain::log::Position;
use runmesh_domain::path::StepKey;
use runmesh_wire::channel::MeshChannel;
use runmesh_wire::convert::{step_key, unsigned};
use runmesh_wire::pb::stream::append_request::Message as Outgoing;
use runmesh_wire::pb::stream::append_response::Message as Incoming;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::stream::{
    AppendAck, AppendEvents, AppendOpen, AppendRequest, AppendResponse, AppendStarted, OpenCall, OpenStep, append_stopped,
};
use runmesh_wire::pb::worker::LogPosition;
use runmesh_wire::{FromWire as _, IntoWire};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// How long a relay may take to open the log for the attempt, once it has answered at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Delays before a stream is opened again.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// Messages on their way into the transport: small, so that a backlog gathers in the buffer and goes in one message.
const OUTBOX: usize = 2;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Status(#[from] tonic::Status),
    #[error("the relay did not answer in time")]
    Timeout,
    #[error("the relay ended the stream")]
    Ended,
    #[error("the relay sent something else than was due: {0}")]
    Protocol(String),
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Protocol(refusal.to_string())
    }
}

/// An open stream.
struct Stream {
    outbox: mpsc::Sender<AppendRequest>,
    inbox: Streaming<AppendResponse>,
}

pub(super) struct Carrier {
    pub(super) shared: Arc<Shared>,
    pub(super) channel: MeshChannel,
    pub(super) credentials: Credentials,
    pub(super) control: Arc<Control>,
    pub(super) attempt: Attempt,
}

impl Carrier {
    /// Carries until the run is over or the log refuses the attempt for good.
    pub(super) async fn run(self) {
        let mut delays = Delays::new(RETRY_FIRST, RETRY_MOST);
        let mut patience = Patience::new(Instant::now());
        loop {
            let before = self.shared.lock().held_number();
            match self.one_stream(&mut patience).await {
                Ok(()) => return,
                Err(Broken::Timeout) => tracing::info!("the relay does not acknowledge; the events go to another one"),
                Err(Broken::Protocol(problem)) => tracing::warn!(problem, "append stream not understood"),
                Err(broken) => tracing::debug!(error = %broken, "append stream broke"),
            }
            if self.shared.lock().is_over() {
                return;
            }
            if self.shared.lock().held_number() > before {
                delays = Delays::new(RETRY_FIRST, RETRY_MOST);
            }
            tokio::time::sleep(delays.next()).await;
        }
    }

    /// One stream to its end; `Ok` when there is nothing more to carry, ever.
    async fn one_stream(&self, patience: &mut Patience) -> Result<(), Broken> {
        let Stream { outbox, mut inbox } = self.open(patience).await?;
        self.carry(&outbox, &mut inbox, patience).await?;
        // Half closed, the relay ends its side: no stream is reset for having been useful.
        drop(outbox);
        while let Ok(Some(_)) = inbox.message().await {}
        Ok(())
    }

    /// Opens a stream up to the relay's first answer, which settles what is sent next.
    async fn open(&self, patience: &mut Patience) -> Result<Stream, Broken> {
        let (outbox, requests) = mpsc::channel(OUTBOX);
        let acked = self.shared.lock().position().into_wire();
        let open = AppendOpen { lease: Some(self.attempt.held.into_wire()), acked: Some(acked) };
        // The channel is new and has room.
        let _ = outbox.try_send(AppendRequest { message: Some(Outgoing::Open(open)) });
        let stream = ReceiverStream::new(requests);
        let request = self.credentials.request(&self.control.token, &self.attempt.traceparent, stream);
        let mut client = StreamServiceClient::new(Caller(self.channel.clone()));
        // A relay answers at once, and then waits for the log.
        patience.owed(Instant::now());
        let Ok(answer) = tokio::time::timeout_at(patience.until(), client.append(request)).await else {
            patience.ran_out(Instant::now());
            return Err(Broken::Timeout);
        };
        let mut inbox = answer?.into_inner();
        let first = tokio::time::timeout(OPEN_TIMEOUT, inbox.message()).await.map_err(|_| Broken::Timeout)?;
        match first?.ok_or(Broken::Ended)?.message {
            Some(Incoming::Started(started)) => self.shared.lock().started(&started_of(started)?),
            Some(Incoming::Stopped(stopped)) => self.stop(stopped.reason()),
            other => return Err(Broken::Protocol(format!("{other:?}"))),
        }
        self.shared.progress.notify_waiters();
        Ok(Stream { outbox, inbox })
    }

    /// Carries events one way and acknowledgements the other; `Ok` when there is nothing more to carry, ever.
    async fn carry(
        &self,
        outbox: &mpsc::Sender<AppendRequest>,
        inbox: &mut Streaming<AppendResponse>,
        patience: &mut Patience,
    ) -> Result<(), Broken> {
        loop {
            let (over, unsent, owed) = {
                let buffer = self.shared.lock();
                (buffer.is_over(), buffer.has_unsent(), buffer.is_owed())
            };
            if over {
                return Ok(());
            }
            tokio::select! {
                incoming = inbox.message() => {
                    let has_moved = self.take(incoming?.ok_or(Broken::Ended)?.message)?;
                    if owed {
                        patience.received(Instant::now(), has_moved);
                    }
                }
                permit = outbox.reserve(), if unsent => {
                    permit.map_err(|_| Broken::Ended)?.send(self.batch());
                    if !owed {
                        patience.owed(Instant::now());
                    }
                }
                () = tokio::time::sleep_until(patience.until()), if owed => {
                    patience.ran_out(Instant::now());
                    return Err(Broken::Timeout);
                }
                // An event more, or the end.
                () = self.shared.work.notified() => {}
            }
        }
    }

    fn batch(&self) -> AppendRequest {
        let (first, events) = self.shared.lock().next_batch();
        let events = events.into_iter().map(IntoWire::into_wire).collect();
        let first_number = runmesh_wire::convert::signed(first);
        AppendRequest { message: Some(Outgoing::Events(AppendEvents { first_number, events })) }
    }

    /// Takes a message; true when it acknowledges something more.
    fn take(&self, message: Option<Incoming>) -> Result<bool, Broken> {
        match message {
            Some(Incoming::Ack(AppendAck { number, position })) => {
                let (number, position) = (unsigned("number", number)?, position_of(position)?);
                let mut buffer = self.shared.lock();
                let has_moved = number > buffer.held_number();
                buffer.acked(number, position);
                drop(buffer);
                self.shared.progress.notify_waiters();
                return Ok(has_moved);
            }
            Some(Incoming::Stopped(stopped)) => self.stop(stopped.reason()),
            Some(Incoming::Started(_)) => return Err(Broken::Protocol("started twice".to_owned())),
            None => {}
        }
        Ok(false)
    }

    /// The log refuses the attempt for good. When a later one began, the lease is gone too.
    fn stop(&self, reason: append_stopped::Reason) {
        self.shared.lock().close();
        if reason == append_stopped::Reason::Fenced {
            tracing::info!("the log is at a later attempt");
            self.control.lost.cancel();
        }
        self.shared.progress.notify_waiters();
    }
}

fn position_of(position: Option<LogPosition>) -> Result<Position, Refusal> {
    position.unwrap_or_default().from_wire("position")
}

fn started_of(started: AppendStarted) -> Result<Started, Refusal> {
    let AppendStarted { number, position, open_step_indexes, open_calls, open_branch_steps } = started;
    let top = open_step_indexes.into_iter().map(|index| unsigned("open_step_indexes", index).map(StepKey::top));
    let branches =
        open_branch_steps.into_iter().map(|OpenStep { step_index, path }| step_key("open_branch_steps", step_index, &path));
    let open_steps = top.chain(branches);
    let open_calls = open_calls.into_iter().map(|OpenCall { step_index, call_index, path }| {
        Ok(step_key("open_calls", step_index, &path)?.call(unsigned("open_calls.call_index", call_index)?))
    });
    Ok(Started {
        number: unsigned("number", number)?,
        position: position_of(position)?,
        open_steps: open_steps.collect::<Result<_, Refusal>>()?,
        open_calls: open_calls.collect::<Result<_, Refusal>>()?,
    })
}
