//! The streams of the mesh as data: this table is the documentation, and what [`crate::Bus::ensure`] applies.

use crate::config::BusConfig;
use crate::subjects;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, RetentionPolicy, StorageType};
use std::time::Duration;

/// A stream, apart from what an operator chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it stores.
    pub subjects: &'static str,
    /// Where the server sends on what was stored, if anywhere: only what was stored, so no reader sees what the log does
    /// not hold.
    pub republish: Option<&'static str>,
    /// How long a message is kept.
    pub max_age: Duration,
    /// How long the server remembers message ids. It saves messages and guards nothing.
    pub duplicate_window: Duration,
}

/// Longer than any approval window, so that a run which waited for a person still has its log.
const KEPT: Duration = Duration::from_secs(72 * 3600);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The run log.
pub const LOG: StreamSpec = StreamSpec {
    name: "RM_LOG",
    description: "what runs say, in batches",
    subjects: subjects::LOG_ALL,
    republish: Some(subjects::LIVE_ALL),
    max_age: KEPT,
    duplicate_window: DUPLICATE_WINDOW,
};

/// The transition feed.
pub const TRANSITIONS: StreamSpec = StreamSpec {
    name: "RM_TRANSITIONS",
    description: "changes of the states of runs",
    subjects: subjects::TRANSITION_ALL,
    republish: None,
    max_age: KEPT,
    duplicate_window: DUPLICATE_WINDOW,
};

/// Every stream.
pub const STREAMS: [StreamSpec; 2] = [LOG, TRANSITIONS];

impl StreamSpec {
    /// The whole configuration. Both streams allow direct gets and discard the oldest.
    pub(crate) fn config(&self, chosen: &BusConfig) -> Config {
        let max_bytes = if self.name == LOG.name { chosen.log_bytes_max } else { chosen.feed_bytes_max };
        let republish = self.republish.map(|destination| Republish {
            source: self.subjects.to_owned(),
            destination: destination.to_owned(),
            headers_only: false,
        });
        Config {
            name: self.name.to_owned(),
            description: Some(self.description.to_owned()),
            subjects: vec![self.subjects.to_owned()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            num_replicas: chosen.replicas,
            max_bytes,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_age: self.max_age,
            duplicate_window: self.duplicate_window,
            republish,
            allow_direct: true,
            ..Config::default()
        }
    }
}
