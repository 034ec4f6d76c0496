//! Every bound of runmesh, in one place, each with its why. What an operator may change is in [`Leases`] and [`Queues`];
//! the constants are part of the API.

use crate::error::Refusal;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Text of one message: what a person pastes at most. Bytes over all parts.
pub const MESSAGE_TEXT_BYTES_MAX: usize = 1 << 20;
/// Parts of one message.
pub const MESSAGE_PARTS_MAX: usize = 64;
/// An idempotency key, visible ASCII.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// A thread's title, in characters: one line of a list.
pub const TITLE_CHARS_MAX: usize = 200;
/// What people call an org, in characters: one line of a list.
pub const DISPLAY_NAME_CHARS_MAX: usize = 200;
/// A name of an org, agent or tool: providers refuse longer tool names.
pub const NAME_BYTES_MAX: usize = 64;
/// A system prompt.
pub const INSTRUCTIONS_BYTES_MAX: usize = 256 << 10;
/// Tools of an agent: what common providers take.
pub const TOOLS_MAX: usize = 128;
/// A tool's description, in characters.
pub const TOOL_DESCRIPTION_CHARS_MAX: usize = 4_096;
/// A tool's URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// A tool's parameter schema.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// One event of the log; what is larger is cut or referenced.
pub const EVENT_BYTES_MAX: usize = 256 << 10;
/// One batch of the log: half of the server's default payload, so that headers never matter.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// One message on any stream.
pub const STREAM_MESSAGE_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// The least and the most that an agent may let an attempt go on without a journaled step or call.
pub const PROGRESS_TIMEOUT_MS_MIN: u64 = 60_000;
/// See [`PROGRESS_TIMEOUT_MS_MIN`].
pub const PROGRESS_TIMEOUT_MS_MAX: u64 = 24 * 3_600_000;
/// See [`PROGRESS_TIMEOUT_MS_MIN`].
pub const PROGRESS_TIMEOUT_MS_DEFAULT: u64 = 3_600_000;
/// Bytes kept of a tool's result that comes after a person was asked whether its call happened: enough to decide by.
pub const LATE_RESULT_BYTES_MAX: usize = 4_096;
/// One tool result as journaled.
pub const TOOL_RESULT_BYTES_MAX: usize = 1 << 20;
/// The result of a tool of an earlier turn, in the conversation that a worker reads, in bytes: about 8,000 tokens. What is longer is
/// cut, so that what a turn costs does not grow with what the turns before it gathered.
pub const OLD_RESULT_BYTES_MAX: usize = 32 << 10;
/// What a provider wants back with one part, opaque: signatures take some kilobytes.
pub const PROVIDER_DATA_BYTES_MAX: usize = 64 << 10;
/// A model's name.
pub const MODEL_BYTES_MAX: usize = 256;
/// Entries of one RecordStep.
pub const JOURNAL_ENTRIES_MAX: usize = 128;
/// Tool calls of one model step.
pub const CALLS_PER_STEP_MAX: usize = 128;
/// How deep branches may be nested: calls that lead from the top level to a step.
pub const PATH_DEPTH_MAX: usize = 8;
/// The path of a branch as text: with the rest of a call's idempotency key it stays within [`IDEMPOTENCY_KEY_BYTES_MAX`].
pub const PATH_BYTES_MAX: usize = 72;
/// The reason in words of an end.
pub const DETAIL_CHARS_MAX: usize = 4_096;

/// Rows of a page when the caller does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 50;
/// Rows of a page at most; larger wishes are coerced.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Text of a page that holds more than one row. A page ends early at this, so that with whatever row comes first it stays far
/// below the 4 MiB that gRPC libraries take in one answer when nobody tells them otherwise.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Text of one message on a page; what is larger goes on on the next. Twice what a person can send, so that only answers do.
pub const PAGE_MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Transitions on one page of a run's history: some hundred bytes each, and few runs ever have a hundred.
pub const PAGE_TRANSITIONS_MAX: u32 = 4_000;

/// Runs at once that an org may allow one of its people.
pub const ORG_RUNNING_PER_USER_MAX: u32 = 1_000;
/// Runs at once that an org may allow itself: what one worker session can drive.
pub const ORG_RUNNING_PER_ORG_MAX: u32 = 10_000;

/// Runs that one worker session may drive at once.
pub const WORKER_CAPACITY_MAX: u32 = 10_000;

/// Steps of one turn.
pub const STEPS_DEFAULT: u32 = 30;
/// Steps that an agent may ask for at most.
pub const STEPS_MAX: u32 = 1_000;
/// Tokens of a model's window when the agent does not say.
pub const CONTEXT_TOKENS_DEFAULT: u64 = 128_000;
/// The smallest window that can hold a prompt.
pub const CONTEXT_TOKENS_MIN: u64 = 1_000;
/// The longest silence of a model's stream.
pub const MODEL_IDLE_DEFAULT: Duration = Duration::from_secs(120);
/// The longest one tool call may take.
pub const TOOL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Tries of one model call before the run fails.
pub const MODEL_TRIES_MAX: u32 = 3;

/// Attempts in a row that lost their lease without a journaled step before the run fails.
pub const BARREN_ATTEMPTS_MAX: u32 = 5;
/// Attempts in a row that ended by a cut stream or a release without a journaled step before the run fails. More than of lost leases,
/// for a deploy may cut a run several times that did nothing wrong.
pub const CUT_ATTEMPTS_MAX: u32 = 10;
/// After so many attempts without a journaled step a run is alone on its worker: it may be what kills the worker.
pub const SHARED_ATTEMPTS_MAX: u32 = 3;
/// How long a run waits after its second attempt without a journaled step; doubled by every further one.
pub const ATTEMPT_BACKOFF: Duration = Duration::from_secs(1);
/// The longest such wait.
pub const ATTEMPT_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Bytes of a run's journal: a long task fits, and its end is never too large for a row.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Tool calls of a run.
pub const JOURNAL_CALLS_MAX: u32 = 4_096;
/// Bytes of the assistant's message that a run leaves. What is more stays in its journal.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Characters of a tool result that a message has room for, however many results it has.
pub const ANSWER_RESULT_CHARS_MIN: usize = 256;
/// One tool result in the assistant's message; the journal has all of it.
pub const ANSWER_RESULT_CHARS_MAX: usize = 64 << 10;
/// How long a run may wait for a person.
pub const APPROVAL_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// How long idempotency keys are kept.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a run token is good: longer than an attempt may take. What revokes it is the fence, at once.
pub const RUN_TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// How often a stream with nothing to say shows that it lives.
pub const ATTACH_KEEPALIVE: Duration = Duration::from_secs(15);

/// The clockwork of leases. Durations in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Leases {
    /// How long after a heartbeat a session is alive.
    pub lease_ms: u64,
    /// How often a worker heartbeats; a third of the lease, so that two may be lost.
    pub heartbeat_ms: u64,
    /// How often a replica looks for lost leases.
    pub reaper_ms: u64,
    /// How often a replica looks for READY runs that no wake-up told of.
    pub poll_ms: u64,
    /// How long a READY run may wait for a worker that can serve it before it fails.
    pub no_worker_ms: u64,
}

impl Default for Leases {
    fn default() -> Self {
        Self { lease_ms: 15_000, heartbeat_ms: 5_000, reaper_ms: 1_000, poll_ms: 5_000, no_worker_ms: 24 * 3_600_000 }
    }
}

impl Leases {
    /// How long after a heartbeat a session is alive.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How often a worker heartbeats.
    #[must_use]
    pub const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// How long a worker that lives, and whose answers may be lost, takes to heartbeat at least once.
    #[must_use]
    pub const fn two_heartbeats(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.saturating_mul(2))
    }

    /// How often a replica looks for lost leases.
    #[must_use]
    pub const fn reaper(&self) -> Duration {
        Duration::from_millis(self.reaper_ms)
    }

    /// How often a replica looks for runs that no wake-up told of.
    #[must_use]
    pub const fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

/// Bounds of queues and of what runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queues {
    /// Turns that wait on one thread.
    pub queued_per_thread_max: u32,
    /// Open runs of one user.
    pub open_per_user_max: u32,
    /// Open runs of one org.
    pub open_per_org_max: u32,
    /// Runs of one user that run at once.
    pub running_per_user_max: u32,
    /// Runs of one org that run at once.
    pub running_per_org_max: u32,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            queued_per_thread_max: 200,
            open_per_user_max: 1_000,
            open_per_org_max: 20_000,
            running_per_user_max: 2,
            running_per_org_max: 100,
        }
    }
}

/// The bounds of what runs at once that an org sets for itself. What is absent is as the mesh's [`Queues`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrgLimits {
    /// Runs of one user: 1 to [`ORG_RUNNING_PER_USER_MAX`].
    pub running_per_user_max: Option<u32>,
    /// Runs of the org: 1 to [`ORG_RUNNING_PER_ORG_MAX`].
    pub running_per_org_max: Option<u32>,
}

impl OrgLimits {
    /// Refuses bounds that are out of theirs; `path` is where they stand in the request.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`].
    pub fn check(&self, path: &str) -> Result<(), Refusal> {
        let Self { running_per_user_max, running_per_org_max } = *self;
        let within = |name: &str, value: Option<u32>, max: u32| match value {
            Some(value) if !(1..=max).contains(&value) => {
                Err(Refusal::field(format!("{path}.{name}"), format!("want 1 to {max}, or nothing for the mesh's")))
            }
            Some(_) | None => Ok(()),
        };
        within("running_per_user_max", running_per_user_max, ORG_RUNNING_PER_USER_MAX)?;
        within("running_per_org_max", running_per_org_max, ORG_RUNNING_PER_ORG_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orgs_bounds_have_bounds() {
        let limits = |of_user, of_org| OrgLimits { running_per_user_max: of_user, running_per_org_max: of_org };
        for good in [limits(None, None), limits(Some(1), Some(1)), limits(Some(1_000), Some(10_000))] {
            assert_eq!(good.check("limits"), Ok(()));
        }
        for (bad, field) in [
            (limits(Some(0), None), "limits.running_per_user_max"),
            (limits(Some(1_001), None), "limits.running_per_user_max"),
            (limits(None, Some(0)), "limits.running_per_org_max"),
            (limits(Some(1), Some(10_001)), "limits.running_per_org_max"),
        ] {
            assert!(matches!(bad.check("limits"), Err(Refusal::InvalidField { field: named, .. }) if named == field));
        }
    }
}
