//! What journal entries mean for the journal: decided in memory over what was read under the run's lock. Pure.

use super::load::StoredCall;
use crate::runs::JournalSize;
use crate::threads::message_bytes;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::{AskedCall, Call, CallState, ModelStep, Usage, call_key};
use runmesh_domain::limits::{JOURNAL_BYTES_MAX, JOURNAL_CALLS_MAX};
use runmesh_domain::path::{CallKey, Path, StepKey};
use runmesh_domain::policy::{self, Verdict};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Fault, Refusal, Result};
use std::collections::{BTreeMap, BTreeSet};

/// One thing to journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A model call ended.
    ModelStep {
        /// Which one: the next of its branch.
        step: StepKey,
        /// What it gave.
        result: ModelStep,
        /// Of the bytes that say so, as the worker sent them: what tells an exact repeat from another step.
        digest: Sha256Digest,
    },
    /// A tool call is about to run.
    CallDispatched {
        /// Which one.
        call: CallKey,
    },
    /// A tool call ended.
    CallDone {
        /// Which one.
        call: CallKey,
        /// The result or the error; at most 1 MiB.
        content: String,
        /// True when the content is an error.
        is_error: bool,
    },
}

/// What the server says of a call that a journaled step asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallVerdict {
    /// Which one.
    pub call: CallKey,
    /// Whether it may run.
    pub verdict: Verdict,
    /// The key that every try carries.
    pub idempotency_key: String,
}

/// What a worker hears of what it journaled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// One for each tool call of the model steps among the entries, in order.
    pub verdicts: Vec<CallVerdict>,
    /// True when a cancel was acknowledged.
    pub cancel_requested: bool,
}

/// A step to insert.
pub(crate) struct NewStep {
    pub(crate) key: StepKey,
    pub(crate) result: ModelStep,
    pub(crate) digest: Sha256Digest,
}

/// The journal as one attempt sees and changes it.
pub(crate) struct Attempt {
    pub(crate) run: RunId,
    pub(crate) fence: u64,
    /// True while the attempt holds the run; else only exact repeats of its own writes pass.
    pub(crate) holds: bool,
    /// The last step of each branch that the entries speak of; absent before its first.
    pub(crate) last_steps: BTreeMap<Path, u32>,
    pub(crate) known: BTreeMap<StepKey, (u64, Sha256Digest)>,
    pub(crate) calls: BTreeMap<CallKey, StoredCall>,
    pub(crate) new_steps: Vec<NewStep>,
    pub(crate) changed: BTreeSet<CallKey>,
    pub(crate) dispatched_now: BTreeSet<CallKey>,
    pub(crate) usage: Usage,
    /// What the journal holds, with what this attempt adds.
    pub(crate) journal: JournalSize,
    pub(crate) progress: bool,
}

impl Attempt {
    /// Takes one entry in. An exact repeat changes nothing.
    ///
    /// # Errors
    /// [`Refusal::StepConflict`] or [`Refusal::CallNotAllowed`]; [`Refusal::Fenced`] for anything new of an attempt that
    /// does not hold the run.
    pub(crate) fn take(&mut self, entry: Entry, spec: Option<&RunSpec>) -> Result<()> {
        match entry {
            Entry::ModelStep { step, result, digest } => self.model_step(step, result, digest, spec),
            Entry::CallDispatched { call } => Ok(self.dispatched(call)?),
            Entry::CallDone { call, content, is_error } => Ok(self.done(call, content, is_error)?),
        }
    }

    fn model_step(&mut self, key: StepKey, result: ModelStep, digest: Sha256Digest, spec: Option<&RunSpec>) -> Result<()> {
        if let Some((fence, known)) = self.known.get(&key) {
            return if *known == digest && (self.holds || *fence == self.fence) {
                Ok(())
            } else {
                Err(conflict(format!("step {key} was journaled with another content")).into())
            };
        }
        self.check_holds()?;
        let calls = u32::try_from(result.calls().count()).unwrap_or(u32::MAX);
        self.check_room(calls)?;
        let last = self.last_step(&key.path);
        if key.step_index != last.saturating_add(1) {
            return Err(conflict(format!("step {key} does not follow step {last}")).into());
        }
        self.check_branch(&key.path)?;
        for asked in result.calls() {
            let spec = spec.ok_or_else(|| Fault::internal("a step with calls was judged without its spec"))?;
            let call = judged(self.run, &key, spec, &asked);
            let called = key.clone().call(asked.call_index);
            self.calls.insert(called.clone(), StoredCall { step: key.clone(), fence: self.fence, call });
            self.changed.insert(called);
        }
        self.journal.calls = self.journal.calls.saturating_add(calls);
        self.grow(message_bytes(&result.parts).unsigned_abs().into());
        self.last_steps.insert(key.path.clone(), key.step_index);
        self.known.insert(key.clone(), (self.fence, digest));
        self.usage = self.usage + result.usage;
        self.progress = true;
        self.new_steps.push(NewStep { key, result, digest });
        Ok(())
    }

    fn dispatched(&mut self, key: CallKey) -> Result<(), Refusal> {
        let (holds, fence, run) = (self.holds, self.fence, self.run);
        let room = self.check_room(0);
        let branch = self.check_branch(&key.step.path);
        let stored = self.call(&key)?;
        let again = stored.call.idempotent && stored.fence < fence;
        match stored.call.state {
            CallState::Dispatched if stored.fence == fence => return Ok(()),
            CallState::Reserved if stored.call.verdict == Verdict::Allow => {}
            // An earlier attempt began it. A repeat with the same key does nothing new.
            CallState::Dispatched | CallState::Unknown if again => {}
            CallState::Reserved | CallState::Dispatched | CallState::Unknown | CallState::Failed | CallState::Done => {
                let own_repeat = stored.fence == fence && stored.call.state.is_over() && stored.call.verdict == Verdict::Allow;
                return if own_repeat { Ok(()) } else { Err(Refusal::CallNotAllowed { call: key }) };
            }
        }
        if !holds {
            return Err(Refusal::Fenced);
        }
        room?;
        branch?;
        debug_assert_eq!(stored.call.idempotency_key, call_key(run, &key.step, key.call_index));
        stored.call.state = CallState::Dispatched;
        stored.fence = fence;
        self.changed.insert(key.clone());
        self.dispatched_now.insert(key);
        Ok(())
    }

    fn done(&mut self, key: CallKey, content: String, is_error: bool) -> Result<(), Refusal> {
        let (holds, fence) = (self.holds, self.fence);
        let stored = self.call(&key)?;
        let state = if is_error { CallState::Failed } else { CallState::Done };
        if stored.call.state.is_over() {
            let same = stored.call.state == state && stored.call.content == content;
            return if same && (holds || stored.fence == fence) {
                Ok(())
            } else {
                Err(conflict(format!("call {key} has another result already")))
            };
        }
        if !holds {
            return Err(Refusal::Fenced);
        }
        if stored.call.state != CallState::Dispatched || stored.fence != fence {
            return Err(conflict(format!("call {key} was not dispatched by this attempt")));
        }
        stored.call.state = state;
        let bytes = content.len() as u64;
        stored.call.content = content;
        self.grow(bytes);
        self.progress = true;
        self.changed.insert(key);
        Ok(())
    }

    /// The last step of a branch; 0 before its first.
    pub(crate) fn last_step(&self, path: &Path) -> u32 {
        self.last_steps.get(path).copied().unwrap_or_default()
    }

    /// The verdicts on the calls of one step, in order.
    pub(crate) fn verdicts(&self, step: &StepKey) -> impl Iterator<Item = CallVerdict> + '_ {
        self.calls.range(step.clone().call(0)..=step.clone().call(u32::MAX)).map(|(call, stored)| CallVerdict {
            call: call.clone(),
            verdict: stored.call.verdict.clone(),
            idempotency_key: stored.call.idempotency_key.clone(),
        })
    }

    /// Refuses to begin anything new in a journal that is full. What is under way may still journal its results.
    fn check_room(&self, calls: u32) -> Result<(), Refusal> {
        let JournalSize { bytes, calls: known } = self.journal;
        if bytes < JOURNAL_BYTES_MAX && known.saturating_add(calls) <= JOURNAL_CALLS_MAX {
            return Ok(());
        }
        Err(Refusal::JournalLimit { bytes_max: JOURNAL_BYTES_MAX, calls_max: JOURNAL_CALLS_MAX })
    }

    const fn grow(&mut self, bytes: u64) {
        self.journal.bytes = self.journal.bytes.saturating_add(bytes);
    }

    fn check_holds(&self) -> Result<(), Refusal> {
        if self.holds { Ok(()) } else { Err(Refusal::Fenced) }
    }

    /// A branch goes on for as long as the call that opened it is under way: before that nobody may run it, and once it has a
    /// result nothing more can become part of that.
    fn check_branch(&self, path: &Path) -> Result<(), Refusal> {
        let Some(opener) = path.parent() else { return Ok(()) };
        match self.calls.get(&opener).map(|stored| stored.call.state) {
            Some(CallState::Dispatched) => Ok(()),
            Some(state) => {
                let problem = format!("branch {path} is of call {opener}, which is {}: want it dispatched", state.name());
                Err(conflict(problem))
            }
            None => Err(conflict(format!("branch {path} is of call {opener}, which is not journaled"))),
        }
    }

    fn call(&mut self, key: &CallKey) -> Result<&mut StoredCall, Refusal> {
        let missing = || conflict(format!("there is no call {key}"));
        self.calls.get_mut(key).ok_or_else(missing)
    }
}

/// A call as it is journaled first: reserved, or failed at once when it may not run.
pub(crate) fn judged(run: RunId, step: &StepKey, spec: &RunSpec, asked: &AskedCall<'_>) -> Call {
    let (verdict, arguments) = policy::judge(&spec.agent, asked);
    let (state, content) = match &verdict {
        Verdict::Allow => (CallState::Reserved, String::new()),
        Verdict::Deny { reason } => (CallState::Failed, reason.clone()),
    };
    Call {
        call_index: asked.call_index,
        call_id: asked.call_id.to_owned(),
        name: asked.name.to_owned(),
        arguments: arguments.unwrap_or_else(|| asked.arguments.to_owned()),
        state,
        verdict,
        idempotent: spec.agent.tool(asked.name).is_some_and(runmesh_domain::agent::Tool::is_idempotent),
        idempotency_key: call_key(run, step, asked.call_index),
        content,
    }
}

fn conflict(problem: String) -> Refusal {
    Refusal::StepConflict { problem }
}
