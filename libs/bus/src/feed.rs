//! The transition feed: every transition of every run, in version order per run, at least once for readers. It guards
//! nothing but its own order; what readers do with an event they have seen is theirs.

mod cache;

use crate::connection::Connection;
use crate::consume::{self, Consumer};
use crate::fault::unavailable;
use crate::publish::{self, PublishOutcome};
use crate::{api, limits, streams, subjects};
use cache::{Last, LastCache};
use prost::Message as _;
use runmesh_domain::Result;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_wire::IntoWire as _;
use runmesh_wire::pb::log::TransitionEvent;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The transition feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    connection: Connection,
    cache: Arc<LastCache>,
}

impl Feed {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, cache: Arc::new(LastCache::new(limits::FEED_CACHE)) }
    }

    /// Publishes transitions of one run that were just committed, in the order given. Those that the feed holds are left
    /// out.
    ///
    /// # Errors
    /// `Unavailable` when NATS is away, or when the predecessor of the first is not on the feed yet: the rows stay unmarked,
    /// and [`Feed::publish_oldest`] takes them.
    pub async fn publish(&self, ids: RunIds, transitions: &[Transition]) -> Result<()> {
        self.publish_all(&ids, transitions, false).await
    }

    /// Publishes the run's oldest transitions that are not marked as fed, in the order given. The first is published
    /// whatever the feed holds: its predecessors were marked, and may have aged out.
    ///
    /// # Errors
    /// `Unavailable` when NATS is away.
    pub async fn publish_oldest(&self, ids: RunIds, transitions: &[Transition]) -> Result<()> {
        self.publish_all(&ids, transitions, true).await
    }

    /// Reads the feed as `durable`; all readers of that name share it.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer.
    pub async fn consume(&self, durable: &str) -> Result<Consumer> {
        consume::open(self.connection.client(), durable).await
    }

    async fn publish_all(&self, ids: &RunIds, transitions: &[Transition], is_oldest: bool) -> Result<()> {
        for (index, transition) in transitions.iter().enumerate() {
            self.publish_one(ids, transition, is_oldest && index == 0).await?;
        }
        Ok(())
    }

    async fn publish_one(&self, ids: &RunIds, transition: &Transition, may_skip: bool) -> Result<()> {
        // What was learnt before a loss is no belief to begin with, and what is published across one is not remembered.
        let losses = *self.connection.lost().borrow();
        let mut known = self.cache.get(ids.id, losses).or_else(|| (transition.version == 1).then(Last::default));
        for _ in 0..limits::FEED_TRIES {
            let (last, is_read) = match known.take() {
                Some(last) => (last, false),
                None => (self.last(ids).await?, true),
            };
            if last.version >= transition.version {
                return Ok(());
            }
            if last.version + 1 != transition.version && !may_skip {
                if is_read {
                    return Err(unavailable(format!("transition {} is not on the feed yet", transition.version - 1)));
                }
                continue;
            }
            let subject = subjects::transition(ids.org, ids.id);
            let id = format!("{}-t{}", ids.id, transition.version);
            match publish::onto(&self.connection, subject, last.stream_seq, Some(&id), payload(ids, transition)).await? {
                PublishOutcome::Stored { stream_seq } => {
                    self.cache.put(ids.id, Last { stream_seq, version: transition.version }, losses);
                    return Ok(());
                }
                PublishOutcome::Conflict | PublishOutcome::Unknown => self.cache.forget(ids.id),
            }
        }
        Err(unavailable("the feed of a run stays contended"))
    }

    async fn last(&self, ids: &RunIds) -> Result<Last> {
        let subject = subjects::transition(ids.org, ids.id);
        let last = api::last_of(&self.connection, streams::TRANSITIONS.name, &subject).await?;
        let Some((stream_seq, payload)) = last else { return Ok(Last::default()) };
        Ok(Last { stream_seq, version: consume::version_of(&payload)? })
    }
}

fn payload(ids: &RunIds, transition: &Transition) -> Vec<u8> {
    let RunIds { id, org, thread, user, agent, agent_version: _ } = ids;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    let event = TransitionEvent {
        payload_version: consume::PAYLOAD_VERSION,
        org_id: org.to_string(),
        thread_id: thread.to_string(),
        run_id: id.to_string(),
        user_id: user.to_string(),
        agent_id: agent.to_string(),
        transition: Some(transition.into_wire()),
        publish_time: Some(runmesh_domain::Timestamp::from_micros(micros).into_wire()),
    };
    event.encode_to_vec()
}
