//! What a run runs, frozen when its message is accepted.

use crate::Timestamp;
use crate::agent::AgentSpec;
use crate::id::AgentId;
use serde::{Deserialize, Serialize};

/// The frozen spec. An agent that is edited afterwards changes nothing for the run. Stored as JSON: names are durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The agent.
    pub agent_id: AgentId,
    /// Its version.
    pub agent_version: u64,
    /// The definition; its model is resolved and never empty.
    pub agent: AgentSpec,
    /// When the message was accepted: the run's idea of now in prompts.
    pub accepted_at: Timestamp,
    /// The W3C traceparent of the call that sent the message; empty when there was none.
    #[serde(default)]
    pub traceparent: String,
}
