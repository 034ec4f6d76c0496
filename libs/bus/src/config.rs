//! Where NATS is, and what an operator chose about it.

use crate::choices::StreamChoices;
use std::fmt;

/// Where NATS is and how much the mesh may keep in it.
#[derive(Clone)]
pub struct BusConfig {
    /// One or more servers, `nats://[user:password@]host:port`, with commas between.
    pub url: String,
    /// What the server's own lists call this connection.
    pub name: String,
    /// What was chosen about the streams.
    pub streams: StreamChoices,
}

impl BusConfig {
    /// These servers, and nothing chosen about the streams.
    #[must_use]
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { url: url.into(), name: name.into(), streams: StreamChoices::default() }
    }

    /// With these choices about the streams.
    #[must_use]
    pub fn choosing(self, streams: &StreamChoices) -> Self {
        Self { streams: streams.clone(), ..self }
    }
}

/// The URL may hold a password and is left out.
impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, name, streams } = self;
        f.debug_struct("BusConfig").field("name", name).field("streams", streams).finish_non_exhaustive()
    }
}
