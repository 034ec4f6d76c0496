//! The streams of the mesh as data: this table is the documentation, and what [`crate::Bus::ensure`] makes.

use crate::choices::{Age, Size, StreamChoices};
use crate::subjects;
use std::time::Duration;

/// A stream of the mesh. Each keeps what it holds by size and age alone, discards the oldest, allows direct gets, and is
/// stored in files.
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
    /// How much it keeps when nothing is chosen.
    pub bytes_max: Size,
    /// How long it keeps it when nothing is chosen.
    pub age: Age,
    /// What the choices about it are called in the settings.
    pub(crate) settings: &'static str,
}

/// How long the server must remember message ids at least. It saves messages and guards nothing.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Longer than a run may wait for a person, so that one which waited still has its log.
const KEPT: Age = Age::hours(72);

/// The run log.
pub const LOG: StreamSpec = StreamSpec {
    name: "RM_LOG",
    description: "what runs say, in batches",
    subjects: subjects::LOG_ALL,
    republish: Some(subjects::LIVE_ALL),
    bytes_max: Size::mib(1_024),
    age: KEPT,
    settings: "log",
};

/// The transition feed.
pub const TRANSITIONS: StreamSpec = StreamSpec {
    name: "RM_TRANSITIONS",
    description: "changes of the states of runs",
    subjects: subjects::TRANSITION_ALL,
    republish: None,
    bytes_max: Size::mib(256),
    age: KEPT,
    settings: "feed",
};

/// Every stream.
pub const STREAMS: [StreamSpec; 2] = [LOG, TRANSITIONS];

impl StreamSpec {
    /// The size and the age that were chosen for it.
    pub(crate) fn chosen(&self, choices: &StreamChoices) -> (Option<Size>, Option<Age>) {
        if self.name == LOG.name { (choices.log_bytes_max, choices.log_age) } else { (choices.feed_bytes_max, choices.feed_age) }
    }
}
