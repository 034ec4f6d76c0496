//! The journal, leases and what workers are told.

use super::{FromWire, IntoWire, id, join, list, required, signed, signed32, step_key, unsigned};
use crate::pb::run::step::CallState as WireCallState;
use crate::pb::worker as pb;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::{Call, CallState, ModelStep, Step};
use runmesh_domain::log::Position;
use runmesh_domain::message::Message;
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::policy::Verdict;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Refusal, Timestamp};

/// A run and an attempt, as a lease names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeldRun {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub fence: u64,
}

impl FromWire<HeldRun> for pb::Lease {
    fn from_wire(self, path: &str) -> Result<HeldRun, Refusal> {
        let Self { run_id, fence } = self;
        Ok(HeldRun { run: id(&join(path, "run_id"), &run_id)?, fence: unsigned(&join(path, "fence"), fence)? })
    }
}

impl IntoWire<pb::Lease> for HeldRun {
    fn into_wire(self) -> pb::Lease {
        pb::Lease { run_id: self.run.to_string(), fence: signed(self.fence) }
    }
}

impl IntoWire<pb::LogPosition> for Position {
    fn into_wire(self) -> pb::LogPosition {
        let Self { seq, chain } = self;
        pb::LogPosition { seq: signed(seq), chain: chain.0 }
    }
}

impl FromWire<Position> for pb::LogPosition {
    fn from_wire(self, path: &str) -> Result<Position, Refusal> {
        let Self { seq, chain } = self;
        Ok(Position { seq: unsigned(&join(path, "seq"), seq)?, chain: Chain(chain) })
    }
}

impl IntoWire<pb::ModelStep> for ModelStep {
    fn into_wire(self) -> pb::ModelStep {
        let Self { parts, model, finish_reason, usage } = self;
        pb::ModelStep { parts: parts.into_wire(), model, finish_reason, usage: Some(usage.into_wire()) }
    }
}

impl FromWire<ModelStep> for pb::ModelStep {
    fn from_wire(self, path: &str) -> Result<ModelStep, Refusal> {
        let Self { parts, model, finish_reason, usage } = self;
        Ok(ModelStep {
            parts: list(&join(path, "parts"), parts)?,
            model,
            finish_reason,
            usage: usage.unwrap_or_default().from_wire(&join(path, "usage"))?,
        })
    }
}

impl IntoWire<WireCallState> for CallState {
    fn into_wire(self) -> WireCallState {
        match self {
            Self::Reserved => WireCallState::Reserved,
            Self::Dispatched => WireCallState::Dispatched,
            Self::Done => WireCallState::Done,
            Self::Failed => WireCallState::Failed,
            Self::Unknown => WireCallState::Unknown,
        }
    }
}

impl FromWire<CallState> for WireCallState {
    fn from_wire(self, path: &str) -> Result<CallState, Refusal> {
        Ok(match self {
            Self::Unspecified => return Err(Refusal::field(path, "is required")),
            Self::Reserved => CallState::Reserved,
            Self::Dispatched => CallState::Dispatched,
            Self::Done => CallState::Done,
            Self::Failed => CallState::Failed,
            Self::Unknown => CallState::Unknown,
        })
    }
}

/// The verdict on a call as workers hear it.
#[must_use]
pub fn verdict(call: CallKey, verdict: Verdict, idempotency_key: String) -> pb::Verdict {
    let (decision, reason) = match verdict {
        Verdict::Allow => (pb::verdict::Decision::Allow, String::new()),
        Verdict::Deny { reason } => (pb::verdict::Decision::Deny, reason),
    };
    let CallKey { step, call_index } = call;
    let (step_index, path) = step.into_wire();
    pb::Verdict { call_index: signed32(call_index), decision: decision.into(), reason, idempotency_key, step_index, path }
}

impl FromWire<Verdict> for pb::Verdict {
    fn from_wire(self, path: &str) -> Result<Verdict, Refusal> {
        match self.decision() {
            pb::verdict::Decision::Allow => Ok(Verdict::Allow),
            pb::verdict::Decision::Deny => Ok(Verdict::Deny { reason: self.reason }),
            pb::verdict::Decision::Unspecified => Err(Refusal::field(join(path, "decision"), "is required")),
        }
    }
}

impl IntoWire<pb::JournaledStep> for Step {
    fn into_wire(self) -> pb::JournaledStep {
        let Self { path, step_index, fence: _, result, calls, created_at: _ } = self;
        let step = StepKey { path, step_index };
        let calls = calls.into_iter().map(|call| journaled_call(&step, call)).collect();
        let (step_index, path) = step.into_wire();
        pb::JournaledStep { step_index, result: Some(result.into_wire()), calls, path }
    }
}

fn journaled_call(step: &StepKey, call: Call) -> pb::JournaledCall {
    let key = step.clone().call(call.call_index);
    pb::JournaledCall {
        call_index: signed32(call.call_index),
        state: call.state.into_wire().into(),
        verdict: Some(verdict(key, call.verdict, call.idempotency_key.clone())),
        idempotency_key: call.idempotency_key,
        content: call.content,
    }
}

impl FromWire<Step> for pb::JournaledStep {
    /// Ids, names and arguments of the calls are those of the model's own parts; what a worker does not need to know of a
    /// call is left at its safest. Some calls may be missing: they stand on another page.
    fn from_wire(self, at: &str) -> Result<Step, Refusal> {
        let Self { step_index, result, calls, path } = self;
        let StepKey { path, step_index } = step_key(at, step_index, &path)?;
        let result: ModelStep = required(&join(at, "result"), result)?.from_wire(&join(at, "result"))?;
        let mut journaled = Vec::with_capacity(calls.len());
        let asked: Vec<_> = result.calls().collect();
        for call in calls {
            let at = join(at, "calls");
            let state = call.state().from_wire(&at)?;
            let pb::JournaledCall { call_index, state: _, verdict, idempotency_key, content } = call;
            let call_index: u32 = unsigned(&at, call_index)?;
            let asked = asked.iter().find(|asked| asked.call_index == call_index);
            let asked = asked.ok_or_else(|| Refusal::field(&at, "the model asked for no such call"))?;
            journaled.push(Call {
                call_index,
                call_id: asked.call_id.to_owned(),
                name: asked.name.to_owned(),
                arguments: asked.arguments.to_owned(),
                state,
                verdict: required(&at, verdict)?.from_wire(&at)?,
                idempotent: false,
                idempotency_key,
                content,
            });
        }
        Ok(Step { path, step_index, fence: 0, result, calls: journaled, created_at: Timestamp::from_micros(0) })
    }
}

impl IntoWire<pb::RunSpec> for RunSpec {
    /// The traceparent travels beside the spec, in the assignment.
    fn into_wire(self) -> pb::RunSpec {
        let Self { agent_id, agent_version, agent, accepted_at, traceparent: _ } = self;
        pb::RunSpec {
            agent_id: agent_id.to_string(),
            agent_version: signed(agent_version),
            agent: Some(agent.into_wire()),
            accept_time: Some(accepted_at.into_wire()),
        }
    }
}

impl FromWire<RunSpec> for pb::RunSpec {
    fn from_wire(self, path: &str) -> Result<RunSpec, Refusal> {
        let Self { agent_id, agent_version, agent, accept_time } = self;
        Ok(RunSpec {
            agent_id: id(&join(path, "agent_id"), &agent_id)?,
            agent_version: unsigned(&join(path, "agent_version"), agent_version)?,
            agent: required(&join(path, "agent"), agent)?.from_wire(&join(path, "agent"))?,
            accepted_at: required(&join(path, "accept_time"), accept_time)?.from_wire(&join(path, "accept_time"))?,
            traceparent: String::new(),
        })
    }
}

/// The conversation and the journal of a run, or a page of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Messages before the run's answer, the run's own user message last.
    pub messages: Vec<Message>,
    /// Journaled steps.
    pub steps: Vec<Step>,
    /// Empty when this is all.
    pub next_page_token: String,
}

impl IntoWire<pb::RunContext> for Context {
    fn into_wire(self) -> pb::RunContext {
        let Self { messages, steps, next_page_token } = self;
        pb::RunContext {
            messages: messages.into_iter().map(IntoWire::into_wire).collect(),
            steps: steps.into_iter().map(IntoWire::into_wire).collect(),
            next_page_token,
        }
    }
}

impl FromWire<Context> for pb::RunContext {
    fn from_wire(self, path: &str) -> Result<Context, Refusal> {
        let Self { messages, steps, next_page_token } = self;
        let messages = list(&join(path, "messages"), messages)?;
        Ok(Context { messages, steps: list(&join(path, "steps"), steps)?, next_page_token })
    }
}
