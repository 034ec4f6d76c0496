//! The events of a run's log, as clients see them.

pub mod fit;

use crate::Timestamp;
use crate::id::{ActionId, SessionId};
use crate::journal::Usage;
use crate::message::Part;
use crate::path::{Path, StepKey};
use crate::transition::{Finished, Transition};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An attempt began.
    AttemptStarted {
        /// Its number.
        fence: u64,
        /// Who makes it.
        session: Option<SessionId>,
        /// When.
        at: Timestamp,
    },
    /// A model call began.
    StepStarted {
        /// The step.
        step: StepKey,
        /// The model.
        model: String,
    },
    /// More text.
    TextDelta {
        /// The step.
        step: StepKey,
        /// What to add.
        text: String,
    },
    /// More reasoning.
    ReasoningDelta {
        /// The step.
        step: StepKey,
        /// What to add.
        text: String,
    },
    /// The model asks for a tool call.
    ToolCallStarted {
        /// The step.
        step: StepKey,
        /// The call, from 0.
        call_index: u32,
        /// The tool.
        name: String,
    },
    /// More of a tool call's arguments.
    ToolCallArgumentsDelta {
        /// The step.
        step: StepKey,
        /// The call.
        call_index: u32,
        /// What to add.
        arguments: String,
    },
    /// A tool call ended.
    ToolCallFinished {
        /// The step.
        step: StepKey,
        /// The call.
        call_index: u32,
        /// The result or the error.
        content: String,
        /// True when the content is an error.
        is_error: bool,
    },
    /// What a step had shown is void.
    StepRetracted {
        /// The step.
        step: StepKey,
        /// Why.
        reason: String,
    },
    /// A model call ended and is journaled.
    StepFinished {
        /// The step.
        step: StepKey,
        /// Everything it gave.
        parts: Vec<Part>,
        /// Tokens of the call.
        usage: Usage,
    },
    /// A model call is tried again.
    ModelRetrying {
        /// The step.
        step: StepKey,
        /// The try that will follow, from 2.
        attempt: u32,
        /// What went wrong.
        reason: String,
    },
    /// History was cut to fit the model's window.
    ContextReported {
        /// The branch whose model it is.
        path: Path,
        /// Turns left out.
        omitted_turns: u32,
        /// Estimate of tokens sent.
        tokens: u64,
    },
    /// The run waits for a person.
    ApprovalRequested {
        /// The question's id.
        action: ActionId,
        /// The question in words.
        summary: String,
    },
    /// The run ended.
    RunFinished(Box<Finished>),
    /// The log lost events: what was shown before is void, and what of it is journaled follows.
    LogRestarted {
        /// Why.
        reason: String,
        /// The attempt that the log is at.
        fence: u64,
        /// Whether that attempt is under way.
        is_open: bool,
    },
    /// A kind that this version does not know.
    Unknown,
}

impl Event {
    /// That an attempt began, as its transition says it.
    #[must_use]
    pub const fn attempt_started(transition: &Transition) -> Self {
        Self::AttemptStarted { fence: transition.fence, session: transition.session, at: transition.at }
    }

    /// The step that an event is about, when it is about one.
    #[must_use]
    pub const fn step(&self) -> Option<&StepKey> {
        match self {
            Self::StepStarted { step, .. }
            | Self::TextDelta { step, .. }
            | Self::ReasoningDelta { step, .. }
            | Self::ToolCallStarted { step, .. }
            | Self::ToolCallArgumentsDelta { step, .. }
            | Self::ToolCallFinished { step, .. }
            | Self::StepRetracted { step, .. }
            | Self::StepFinished { step, .. }
            | Self::ModelRetrying { step, .. } => Some(step),
            Self::ContextReported { .. }
            | Self::AttemptStarted { .. }
            | Self::ApprovalRequested { .. }
            | Self::RunFinished(_)
            | Self::LogRestarted { .. }
            | Self::Unknown => None,
        }
    }

    /// True for kinds that only a transition may bring into the log.
    #[must_use]
    pub const fn is_transition(&self) -> bool {
        match self {
            Self::AttemptStarted { .. } | Self::ApprovalRequested { .. } | Self::RunFinished(_) | Self::LogRestarted { .. } => {
                true
            }
            Self::StepStarted { .. }
            | Self::TextDelta { .. }
            | Self::ReasoningDelta { .. }
            | Self::ToolCallStarted { .. }
            | Self::ToolCallArgumentsDelta { .. }
            | Self::ToolCallFinished { .. }
            | Self::StepRetracted { .. }
            | Self::StepFinished { .. }
            | Self::ModelRetrying { .. }
            | Self::ContextReported { .. }
            | Self::Unknown => false,
        }
    }
}
