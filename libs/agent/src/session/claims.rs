//! One Claim stream: opening it, up to the mesh's welcome, and what is sent on it.

use super::clock::Moment;
use crate::mesh::{Caller, Credentials, MESSAGE_BYTES_MAX};
use runmesh_domain::Reason;
use runmesh_wire::channel::MeshChannel;
use runmesh_wire::pb::worker::claim_request::Message as Outgoing;
use runmesh_wire::pb::worker::claim_response::Message as Incoming;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use runmesh_wire::pb::worker::{AssignmentAck, ClaimRequest, ClaimResponse, Credits, Hello, Lease, Welcome};
use runmesh_wire::{FromWire, status};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// How long the mesh may take to welcome a worker.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on their way into the transport.
const OUTBOX: usize = 4;
/// The shortest heartbeat period taken from the mesh.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// A worker session as the mesh told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    /// Raised by every open of Claim.
    pub(super) stream_number: i64,
    /// How long after a heartbeat was sent the leases end.
    pub(super) lease: Duration,
    pub(super) period: Duration,
    /// When the hello was sent: the first lease counts from here.
    pub(super) opened: Moment,
}

/// An open Claim stream.
pub(super) struct ClaimStream {
    pub(super) outbox: mpsc::Sender<ClaimRequest>,
    pub(super) inbox: Streaming<ClaimResponse>,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The session to come back to is over.
    #[error("the session is over")]
    SessionLost,
    /// Anything else; try again.
    #[error("{0}")]
    Failed(String),
}

/// Opens Claim and waits for the welcome.
pub(super) async fn open(
    channel: MeshChannel,
    credentials: &Credentials,
    hello: Hello,
) -> Result<(ClaimStream, Session), OpenError> {
    let (outbox, requests) = mpsc::channel(OUTBOX);
    // The channel is new and has room.
    let _ = outbox.try_send(ClaimRequest { message: Some(Outgoing::Hello(hello)) });
    let mut client = WorkerServiceClient::new(Caller(channel)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let opened = Moment::now();
    let open = async {
        let request = credentials.worker_request(ReceiverStream::new(requests));
        let mut inbox = client.claim(request).await.map_err(failed)?.into_inner();
        let first = inbox.message().await.map_err(failed)?;
        Ok((inbox, first))
    };
    let timed = tokio::time::timeout(OPEN_TIMEOUT, open).await;
    let (inbox, first) = timed.unwrap_or_else(|_| Err(OpenError::Failed("no welcome in time".to_owned())))?;
    let Some(Incoming::Welcome(welcome)) = first.and_then(|first| first.message) else {
        return Err(OpenError::Failed("something else than a welcome came first".to_owned()));
    };
    Ok((ClaimStream { outbox, inbox }, session_of(welcome, opened)?))
}

fn failed(status: tonic::Status) -> OpenError {
    match status::reason(&status) {
        Some(Reason::SessionLost) => OpenError::SessionLost,
        _ => OpenError::Failed(status.to_string()),
    }
}

fn session_of(welcome: Welcome, opened: Moment) -> Result<Session, OpenError> {
    let Welcome { session_id, lease_duration, heartbeat_period, stream_number } = welcome;
    let lease = positive("lease_duration", lease_duration)?;
    let period = positive("heartbeat_period", heartbeat_period)?.max(PERIOD_MIN);
    Ok(Session { id: session_id, stream_number, lease, period, opened })
}

fn positive<W: FromWire<Duration>>(name: &str, value: Option<W>) -> Result<Duration, OpenError> {
    let value = value.and_then(|value| value.from_wire(name).ok()).filter(|value| !value.is_zero());
    value.ok_or_else(|| OpenError::Failed(format!("the welcome has no {name}")))
}

/// What waits to be sent on a Claim stream. Bounded by the worker's capacity.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    credits: u32,
    acks: VecDeque<Lease>,
}

impl Outbox {
    pub(super) const fn with_credits(credits: u32) -> Self {
        Self { credits, acks: VecDeque::new() }
    }

    pub(super) const fn add_credit(&mut self) {
        self.credits += 1;
    }

    pub(super) fn add_ack(&mut self, lease: Lease) {
        self.acks.push_back(lease);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.credits == 0 && self.acks.is_empty()
    }

    /// The next message, while it is not empty: acknowledgements first, then all credits at once.
    pub(super) fn next(&mut self) -> ClaimRequest {
        let message = match self.acks.pop_front() {
            Some(lease) => Outgoing::Ack(AssignmentAck { lease: Some(lease) }),
            None => {
                let add = i32::try_from(std::mem::take(&mut self.credits)).unwrap_or(i32::MAX);
                Outgoing::Credits(Credits { add })
            }
        };
        ClaimRequest { message: Some(message) }
    }
}
