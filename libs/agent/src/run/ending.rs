//! How a run's attempt ends, and saying so to the mesh.

use super::lease::{Halt, Lease};
use crate::appender::Events;
use runmesh_domain::journal::ModelStep;
use runmesh_domain::limits::{DETAIL_CHARS_MAX, NAME_BYTES_MAX};
use runmesh_domain::log::Position;
use runmesh_domain::run::Outcome;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::signed32;
use runmesh_wire::pb::worker as pb;
use std::time::Duration;

/// How long acknowledgements of the attempt's events are waited for before the run ends.
pub(super) const FLUSH_WAIT: Duration = Duration::from_secs(1);
/// The same for a canceled run: whoever canceled it waits.
const FLUSH_WAIT_CANCELED: Duration = Duration::from_millis(250);

/// Why an attempt stops driving.
#[derive(Debug)]
pub(super) enum Stop {
    /// The lease is gone: write nothing more.
    Lost,
    /// Say this to the mesh.
    Ending(Ending),
}

/// What is said to the mesh at the end of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The run is over.
    Finish {
        /// How.
        outcome: Outcome,
        /// The last model call, which is not journaled yet.
        last_step: Option<(u32, ModelStep)>,
        /// True when it was cut off.
        unfinished: bool,
    },
    /// Another worker goes on with it.
    Release,
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Lost => Self::Lost,
            Halt::Refused(detail) => Self::Ending(Ending::failed("STEP_REFUSED", detail)),
            Halt::Unreadable(_) => Self::Ending(Ending::Release),
            Halt::Full(detail) => Self::Ending(Ending::failed("JOURNAL_LIMIT", detail)),
        }
    }
}

impl Ending {
    /// Failed, without a step of its own.
    pub(super) fn failed(reason: &str, detail: impl Into<String>) -> Self {
        let outcome = Outcome::Failed { reason: reason.to_owned(), detail: detail.into() };
        Self::Finish { outcome, last_step: None, unfinished: false }
    }

    /// Over with the step that ends it.
    pub(super) const fn with_step(outcome: Outcome, step_index: u32, step: ModelStep) -> Self {
        Self::Finish { outcome, last_step: Some((step_index, step)), unfinished: false }
    }

    /// Canceled, keeping what was said so far.
    pub(super) fn canceled(partial: Option<(u32, ModelStep)>) -> Self {
        let partial = partial.filter(|(_, step)| !step.parts.is_empty());
        let unfinished = partial.is_some();
        Self::Finish { outcome: Outcome::Canceled, last_step: partial, unfinished }
    }
}

/// How a journaled or whole step ends the run, if it does; `at_limit` says that no further step is allowed.
pub(super) fn outcome_of(step: &ModelStep, at_limit: bool) -> Option<Outcome> {
    let failed = |reason: &str, detail: &str| Outcome::Failed { reason: reason.to_owned(), detail: detail.to_owned() };
    let has_calls = step.calls().next().is_some();
    match step.finish_reason.as_str() {
        "length" => Some(failed("LENGTH", "the model stopped at its longest answer")),
        "content_filter" => Some(failed("CONTENT_FILTER", "the provider's content filter stopped the answer")),
        _ if !has_calls => Some(Outcome::Completed),
        _ if at_limit => Some(failed("STEP_LIMIT", "the agent may make no more model calls in this turn")),
        _ => None,
    }
}

/// Says the end to the mesh, after a short wait for the attempt's events.
pub(super) async fn say(ending: Ending, lease: &Lease, events: &Events) -> Result<(), Halt> {
    let canceled = matches!(&ending, Ending::Finish { outcome: Outcome::Canceled, .. });
    events.flush(if canceled { FLUSH_WAIT_CANCELED } else { FLUSH_WAIT }).await;
    let acked = events.acked();
    match ending {
        Ending::Release => lease.release(Some(acked)).await,
        Ending::Finish { outcome, last_step, unfinished } => finish(lease, outcome, last_step, unfinished, acked).await,
    }
}

/// Ends the run, at last in words that nobody can refuse. An end that is never accepted would bring the run back for another
/// attempt, which would pay for the same model calls to end in the same way.
async fn finish(
    lease: &Lease,
    outcome: Outcome,
    last_step: Option<(u32, ModelStep)>,
    unfinished: bool,
    acked: Position,
) -> Result<(), Halt> {
    let has_step = last_step.is_some();
    let mut said = lease.finish(finish_request(outcome.clone(), last_step, unfinished, acked)).await;
    if has_step && let Err(Halt::Refused(detail)) = &said {
        said = lease.finish(finish_request(without_step(&outcome, detail), None, false, acked)).await;
    }
    if let Err(Halt::Refused(_)) = &said {
        tracing::warn!("the end of the run was refused as it is; it is said without its words");
        let outcome = if has_step { without_step(&outcome, "") } else { outcome };
        said = lease.finish(plain_request(&outcome)).await;
    }
    said
}

/// The end of a run whose last step the mesh does not take. A canceled run stays canceled.
fn without_step(outcome: &Outcome, detail: &str) -> Outcome {
    match outcome {
        Outcome::Canceled => Outcome::Canceled,
        Outcome::Completed | Outcome::Failed { .. } => {
            Outcome::Failed { reason: "STEP_REFUSED".to_owned(), detail: detail.to_owned() }
        }
    }
}

/// An end of nothing but its state and a reason: no field of it can be at fault.
fn plain_request(outcome: &Outcome) -> pb::FinishRequest {
    let plain = match outcome {
        Outcome::Completed => Outcome::Completed,
        Outcome::Canceled => Outcome::Canceled,
        Outcome::Failed { reason, .. } => {
            let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            let known = !reason.is_empty() && reason.len() <= NAME_BYTES_MAX && reason.bytes().all(fits);
            let reason = if known { reason.clone() } else { "FAILED".to_owned() };
            Outcome::Failed { reason, detail: "the mesh refused the words of this end".to_owned() }
        }
    };
    pb::FinishRequest { acked: None, ..finish_request(plain, None, false, Position::default()) }
}

/// Ends a run whose context the mesh does not give, now or to any other attempt. `acked` is where the log stood: nothing was
/// told to it.
pub(super) async fn say_unreadable(lease: &Lease, acked: Position, detail: String) {
    let outcome = Outcome::Failed { reason: "CONTEXT_REFUSED".to_owned(), detail };
    if let Err(halt) = finish(lease, outcome, None, false, acked).await {
        tracing::warn!(?halt, "the end of a run without a context could not be said");
    }
}

/// Words that the mesh can store: within the bound, and without the one character that Postgres cannot hold.
fn storable(detail: &str) -> String {
    detail.chars().take(DETAIL_CHARS_MAX).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}

fn finish_request(outcome: Outcome, last_step: Option<(u32, ModelStep)>, unfinished: bool, acked: Position) -> pb::FinishRequest {
    use pb::finish_request::Outcome as Wire;
    let (outcome, reason, detail) = match outcome {
        Outcome::Completed => (Wire::Completed, String::new(), String::new()),
        Outcome::Failed { reason, detail } => (Wire::Failed, reason, storable(&detail)),
        Outcome::Canceled => (Wire::Canceled, String::new(), String::new()),
    };
    pb::FinishRequest {
        lease: None,
        outcome: outcome.into(),
        reason,
        detail,
        last_step: last_step.map(|(step_index, step)| step_entry(step_index, step)),
        last_step_unfinished: unfinished,
        acked: Some(acked.into_wire()),
    }
}

/// A model call of the top level as it is journaled.
pub(super) fn step_entry(step_index: u32, step: ModelStep) -> pb::ModelStepEntry {
    pb::ModelStepEntry { step_index: signed32(step_index), result: Some(step.into_wire()), path: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::message::Part;

    fn step(finish_reason: &str, calls: usize) -> ModelStep {
        let call = Part::tool_call("c", "t", "{}");
        ModelStep { parts: vec![call; calls], finish_reason: finish_reason.into(), ..ModelStep::default() }
    }

    fn reason(step: &ModelStep, at_limit: bool) -> Option<String> {
        outcome_of(step, at_limit).map(|outcome| match outcome {
            Outcome::Failed { reason, .. } => reason,
            Outcome::Completed => "COMPLETED".into(),
            Outcome::Canceled => "CANCELED".into(),
        })
    }

    #[test]
    fn a_step_ends_the_run_or_does_not() {
        assert_eq!(reason(&step("stop", 0), false).as_deref(), Some("COMPLETED"));
        assert_eq!(reason(&step("stop", 1), false), None);
        assert_eq!(reason(&step("tool_calls", 1), false), None);
        assert_eq!(reason(&step("tool_calls", 1), true).as_deref(), Some("STEP_LIMIT"));
        assert_eq!(reason(&step("length", 0), false).as_deref(), Some("LENGTH"));
        assert_eq!(reason(&step("content_filter", 1), false).as_deref(), Some("CONTENT_FILTER"));
    }

    #[test]
    fn a_cancel_keeps_only_what_was_said() {
        let nothing = Ending::canceled(Some((1, ModelStep::default())));
        assert!(matches!(nothing, Ending::Finish { last_step: None, unfinished: false, .. }));
        let something = Ending::canceled(Some((1, step("", 1))));
        assert!(matches!(something, Ending::Finish { last_step: Some(_), unfinished: true, .. }));
    }
}
