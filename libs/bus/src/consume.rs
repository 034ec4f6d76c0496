//! Reading the transition feed: at least once, in version order per run but for repeats.

use crate::fault::{internal, unavailable};
use crate::{limits, streams};
use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, AckKind, Message};
use futures::StreamExt as _;
use prost::Message as _;
use runmesh_domain::id::{AgentId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Cause;
use runmesh_domain::{Refusal, Result, Timestamp};
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::{id, required, unsigned};
use runmesh_wire::pb::log::TransitionEvent;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// The version of the payload.
pub const PAYLOAD_VERSION: i32 = 1;

/// A transition as the feed tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// The org.
    pub org: OrgId,
    /// The thread.
    pub thread: ThreadId,
    /// The run.
    pub run: RunId,
    /// The sender.
    pub user: UserId,
    /// The agent.
    pub agent: AgentId,
    /// The run's version after it.
    pub version: u64,
    /// The state before; absent for the first.
    pub from: Option<StateName>,
    /// The state after.
    pub to: StateName,
    /// Why; absent when this version of the mesh does not know the cause.
    pub cause: Option<Cause>,
    /// The run's fence after it.
    pub fence: u64,
    /// The session concerned.
    pub session: Option<SessionId>,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// When it was published, on the publisher's clock.
    pub published_at: Timestamp,
}

/// A durable reader of the feed.
pub struct Consumer {
    messages: pull::Stream,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

/// A transition that is delivered again unless it is acknowledged.
#[derive(Debug)]
pub struct Fed {
    /// The transition.
    pub event: FeedEvent,
    message: Message,
}

/// Opens the durable consumer of that name, which begins with the oldest transition the feed holds.
pub async fn open(client: &Client, durable: &str) -> Result<Consumer> {
    let config = pull::Config {
        durable_name: Some(durable.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: limits::FEED_ACK,
        max_ack_pending: limits::FEED_PENDING,
        ..pull::Config::default()
    };
    let mut context = jetstream::new(client.clone());
    context.set_timeout(limits::REQUEST);
    let opened = async {
        let stream = context.get_stream_no_info(streams::TRANSITIONS.name).await.map_err(unavailable)?;
        let consumer = stream.get_or_create_consumer(durable, config).await.map_err(unavailable)?;
        let messages = consumer.stream().heartbeat(Duration::from_secs(5)).expires(Duration::from_secs(30));
        messages.messages().await.map_err(unavailable)
    };
    let messages = timeout(limits::REQUEST * 2, opened).await.map_err(|_| unavailable("opening a consumer timed out"))??;
    Ok(Consumer { messages })
}

impl Consumer {
    /// The next transition; waits for ever. Cancel safe.
    ///
    /// # Errors
    /// `Unavailable` when the server was lost: go on calling, or open it again. `Internal` for a message that is none of
    /// ours, which is not delivered again.
    pub async fn next(&mut self) -> Result<Fed> {
        let message = self.messages.next().await.ok_or_else(|| unavailable("the consumer was closed"))?.map_err(unavailable)?;
        match decode(&message.payload) {
            Ok(event) => Ok(Fed { event, message }),
            Err(error) => {
                let _ended = timeout(limits::REQUEST, message.ack_with(AckKind::Term)).await;
                Err(error)
            }
        }
    }
}

impl Fed {
    /// Says that the transition was dealt with.
    ///
    /// # Errors
    /// `Unavailable` when that could not be sent: it will be delivered again.
    pub async fn ack(&self) -> Result<()> {
        let acked = timeout(limits::REQUEST, self.message.ack()).await.map_err(|_| unavailable("an ack was not sent in time"))?;
        acked.map_err(unavailable)
    }
}

/// The version of a transition on the feed.
pub fn version_of(payload: &[u8]) -> Result<u64> {
    decode(payload).map(|event| event.version)
}

fn decode(payload: &[u8]) -> Result<FeedEvent> {
    let event = TransitionEvent::decode(payload).map_err(|error| internal(format!("a transition on the feed: {error}")))?;
    if event.payload_version != PAYLOAD_VERSION {
        return Err(internal("a transition on the feed is of another version"));
    }
    fields(event).map_err(|refusal| internal(format!("a transition on the feed: {refusal}")))
}

fn fields(event: TransitionEvent) -> Result<FeedEvent, Refusal> {
    let TransitionEvent { payload_version: _, org_id, thread_id, run_id, user_id, agent_id, transition, publish_time } = event;
    let transition = required("transition", transition)?;
    let from = transition.from();
    let session = &transition.session_id;
    Ok(FeedEvent {
        org: id("org_id", &org_id)?,
        thread: id("thread_id", &thread_id)?,
        run: id("run_id", &run_id)?,
        user: id("user_id", &user_id)?,
        agent: id("agent_id", &agent_id)?,
        version: unsigned("version", transition.version)?,
        from: from.from_wire("from").ok(),
        to: transition.to().from_wire("to")?,
        cause: Cause::from_name(&transition.cause),
        fence: unsigned("fence", transition.fence)?,
        session: if session.is_empty() { None } else { Some(id("session_id", session)?) },
        at: required("time", transition.time)?.from_wire("time")?,
        published_at: required("publish_time", publish_time)?.from_wire("publish_time")?,
    })
}
