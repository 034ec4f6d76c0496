//! One model call with its tries, told to followers as it comes, and journaled.

use super::assembly::Assembly;
use super::ending::{Ending, FLUSH_WAIT, Stop, step_entry};
use super::{Drive, stop_at};
use crate::backoff::Delays;
use crate::model::{ChatRequest, ModelError, ModelStream};
use crate::trace;
use runmesh_domain::event::Event;
use runmesh_domain::journal::{AskedCall, Call, CallState, ModelStep, Step};
use runmesh_domain::limits::MODEL_TRIES_MAX;
use runmesh_domain::path::Path;
use runmesh_domain::policy::Verdict;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::worker as pb;
use std::time::Duration;
use tracing::Instrument as _;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// The longest wait that a provider may ask for.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(60);

/// How a try ended.
enum Tried {
    /// With a whole step.
    Whole(ModelStep),
    /// Without one; `spoke` when followers saw some of it.
    Failed { error: ModelError, spoke: bool },
}

impl Drive {
    /// Calls the model until it has given a whole step.
    pub(super) async fn model_step(&mut self, step_index: u32) -> Result<ModelStep, Stop> {
        self.report_context().await;
        let mut delays = Delays::new(RETRY_FIRST, RETRY_MOST);
        let mut attempt = 1;
        let mut begun = false;
        loop {
            if !begun {
                let model = self.spec.agent.model.clone();
                self.events.push(Event::StepStarted { step: step_index.into(), model }).await;
            }
            let (error, spoke) = match self.traced_try(step_index).await? {
                Tried::Whole(step) => return Ok(step),
                Tried::Failed { error, spoke } => (error, spoke),
            };
            tracing::info!(step_index, attempt, %error, "model call failed");
            if spoke {
                self.events.push(Event::StepRetracted { step: step_index.into(), reason: error.to_string() }).await;
            }
            begun = !spoke;
            if attempt >= MODEL_TRIES_MAX || matches!(error, ModelError::Permanent { .. }) {
                return Err(Stop::Ending(given_up(error)));
            }
            attempt += 1;
            self.events.push(Event::ModelRetrying { step: step_index.into(), attempt, reason: error.to_string() }).await;
            self.pause(delay_of(&error, delays.next())).await?;
        }
    }

    /// Tells how much of the conversation is left out, when that is news.
    async fn report_context(&mut self) {
        let fitted = self.history.fit();
        let (omitted_turns, tokens) = (fitted.omitted_turns, fitted.tokens);
        if omitted_turns != self.omitted_told {
            self.omitted_told = omitted_turns;
            self.events.push(Event::ContextReported { path: Path::TOP, omitted_turns, tokens }).await;
        }
    }

    /// One try, in its span.
    async fn traced_try(&self, step_index: u32) -> Result<Tried, Stop> {
        let span = trace::model_call(&self.spec.agent.model);
        let tried = self.one_try(step_index).instrument(span.clone()).await;
        match &tried {
            Ok(Tried::Whole(step)) => trace::used(&span, step.usage),
            Ok(Tried::Failed { .. }) => trace::failed(&span),
            // Interrupted, which is nobody's failure.
            Err(_) => {}
        }
        tried
    }

    /// One try, told as it comes.
    async fn one_try(&self, step_index: u32) -> Result<Tried, Stop> {
        let mut interrupted = std::pin::pin!(self.control.interrupted());
        let mut stream = tokio::select! {
            biased;
            interrupt = &mut interrupted => return Err(stop_at(interrupt, None)),
            stream = self.call_model() => match stream {
                Ok(stream) => stream,
                Err(error) => return Ok(Tried::Failed { error, spoke: false }),
            },
        };
        let mut assembly = Assembly::new(step_index);
        let model = &self.spec.agent.model;
        loop {
            let chunk = tokio::select! {
                biased;
                interrupt = &mut interrupted => {
                    assembly.end_with("canceled");
                    return Err(stop_at(interrupt, Some((step_index, assembly.finish(model, &self.call_ids)))));
                }
                chunk = stream.next() => chunk,
            };
            match chunk {
                Some(Ok(chunk)) => {
                    for event in assembly.take(chunk).into_iter().flatten() {
                        self.events.push(event).await;
                    }
                }
                Some(Err(error)) => return Ok(Tried::Failed { error, spoke: assembly.has_spoken() }),
                None => return Ok(Tried::Whole(assembly.finish(model, &self.call_ids))),
            }
            if assembly.is_too_long() {
                // What passes a message's bound is cut off as if the model had reached its own.
                assembly.end_with("length");
                return Ok(Tried::Whole(assembly.finish(model, &self.call_ids)));
            }
        }
    }

    async fn call_model(&self) -> Result<ModelStream, ModelError> {
        let agent = &self.spec.agent;
        let fitted = self.history.fit();
        let request = ChatRequest::new(&agent.model, &agent.parameters, fitted.messages, &self.tools);
        let idle = Duration::from_millis(agent.limits.model_idle_ms);
        self.kit.provider.call(&request, self.lease.held.run, idle).await
    }

    async fn pause(&self, delay: Duration) -> Result<(), Stop> {
        tokio::select! {
            biased;
            interrupt = self.control.interrupted() => Err(stop_at(interrupt, None)),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// Journals a step that goes on with tool calls, then tells it whole.
    pub(super) async fn journal_step(&mut self, step_index: u32, step: ModelStep) -> Result<(), Stop> {
        self.events.flush(FLUSH_WAIT).await;
        let entry = pb::journal_entry::Entry::ModelStep(step_entry(step_index, step.clone()));
        let verdicts = self.lease.record(vec![entry], self.events.acked()).await?;
        let told = Event::StepFinished { step: step_index.into(), parts: step.parts.clone(), usage: step.usage };
        self.events.push(told).await;
        let calls: Vec<_> = step.calls().map(|call| journaled_call(&self.spec.agent, step_index, &call, &verdicts)).collect();
        for call in calls.iter().filter(|call| call.state == CallState::Failed) {
            let (call_index, content) = (call.call_index, call.content.clone());
            self.events.push(Event::ToolCallFinished { step: step_index.into(), call_index, content, is_error: true }).await;
        }
        self.call_ids.extend(calls.iter().map(|call| call.call_id.clone()));
        let (fence, created_at) = (self.lease.held.fence, self.spec.accepted_at);
        self.steps.push(Step { path: Path::TOP, step_index, fence, result: step, calls, created_at });
        Ok(())
    }
}

/// A call of a step of the top level as the journal has it after the step was recorded. A call without a verdict does not run.
fn journaled_call(
    spec: &runmesh_domain::agent::AgentSpec,
    step_index: u32,
    asked: &AskedCall<'_>,
    verdicts: &[pb::Verdict],
) -> Call {
    let of_call = |verdict: &&pb::Verdict| {
        // A server from before verdicts named their steps answers for the one step that was recorded.
        let of_step = verdict.step_index == 0 || u32::try_from(verdict.step_index) == Ok(step_index);
        of_step && verdict.path.is_empty() && u32::try_from(verdict.call_index) == Ok(asked.call_index)
    };
    let found = verdicts.iter().find(of_call).cloned();
    let idempotency_key = found.as_ref().map(|verdict| verdict.idempotency_key.clone()).unwrap_or_default();
    let unjudged = || Verdict::Deny { reason: "nobody allowed this call".to_owned() };
    let verdict = found.and_then(|verdict| verdict.from_wire("verdict").ok()).unwrap_or_else(unjudged);
    let (state, content) = match &verdict {
        Verdict::Allow => (CallState::Reserved, String::new()),
        Verdict::Deny { reason } => (CallState::Failed, reason.clone()),
    };
    Call {
        call_index: asked.call_index,
        call_id: asked.call_id.to_owned(),
        name: asked.name.to_owned(),
        arguments: asked.arguments.to_owned(),
        state,
        verdict,
        idempotent: spec.tool(asked.name).is_some_and(runmesh_domain::agent::Tool::is_idempotent),
        idempotency_key,
        content,
    }
}

fn given_up(error: ModelError) -> Ending {
    match error {
        ModelError::Permanent { detail, .. } => Ending::failed("MODEL_REJECTED", detail),
        other => Ending::failed("MODEL_UNAVAILABLE", other.to_string()),
    }
}

/// The provider's own wish, within reason, else ours.
fn delay_of(error: &ModelError, ours: Duration) -> Duration {
    match error {
        ModelError::Retryable { retry_after: Some(wish), .. } => (*wish).min(RETRY_AFTER_MOST),
        _ => ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_verdict_does_not_run() {
        let asked = AskedCall { call_index: 0, call_id: "c", name: "t", arguments: "{}" };
        let call = journaled_call(&runmesh_domain::agent::AgentSpec::default(), 1, &asked, &[]);
        assert_eq!(call.state, CallState::Failed);
        assert!(!call.idempotent);
        let allow = |step_index, path: &str| pb::Verdict {
            decision: pb::verdict::Decision::Allow.into(),
            step_index,
            path: path.into(),
            ..pb::Verdict::default()
        };
        for (verdict, state) in
            [(allow(1, ""), CallState::Reserved), (allow(2, ""), CallState::Failed), (allow(1, "1.0"), CallState::Failed)]
        {
            let call = journaled_call(&runmesh_domain::agent::AgentSpec::default(), 1, &asked, &[verdict]);
            assert_eq!(call.state, state, "a verdict on another call is none");
        }
    }

    #[test]
    fn the_providers_wish_is_bounded() {
        let wish = |secs| ModelError::Retryable {
            status: Some(429),
            retry_after: Some(Duration::from_secs(secs)),
            detail: String::new(),
        };
        assert_eq!(delay_of(&wish(2), Duration::ZERO), Duration::from_secs(2));
        assert_eq!(delay_of(&wish(9_999), Duration::ZERO), RETRY_AFTER_MOST);
        assert_eq!(delay_of(&ModelError::broken("x"), Duration::from_secs(1)), Duration::from_secs(1));
    }
}
