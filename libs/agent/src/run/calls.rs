//! The tool calls of the last journaled step: those not over are journaled as dispatched, run in parallel, and journaled
//! as they end.
//!
//! A call that may have happened and may not be repeated is never made here (R4).

use super::ending::{Ending, Stop};
use super::{Drive, stop_at};
use crate::control::Interrupt;
use crate::tools::{ToolCall, ToolOutcome};
use crate::trace;
use runmesh_domain::event::Event;
use runmesh_domain::journal::{Call, CallState};
use runmesh_domain::limits::{JOURNAL_ENTRIES_MAX, TOOL_RESULT_BYTES_MAX};
use runmesh_wire::convert::signed32;
use runmesh_wire::pb::worker as pb;
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::Instrument as _;

/// Bytes of results journaled in one transaction: one result of the largest size. What stands around them still fits into
/// one message of the mesh.
const RECORD_BYTES_MAX: usize = TOOL_RESULT_BYTES_MAX;

/// A call that ended.
struct Ended {
    call_index: u32,
    outcome: ToolOutcome,
}

/// Calls under way.
struct Running {
    set: JoinSet<Ended>,
    /// Those that may be stopped and made again.
    repeatable: Vec<AbortHandle>,
}

impl Drive {
    /// Runs the calls that are not over, if there are any.
    pub(super) async fn run_calls(&mut self) -> Result<(), Stop> {
        let Some(step) = self.steps.last() else { return Ok(()) };
        let step_index = step.step_index;
        let open: Vec<Call> = step.calls.iter().filter(|call| !call.state.is_over()).cloned().collect();
        if open.is_empty() {
            return Ok(());
        }
        if let Some(call) = open.iter().find(|call| !self.may_run(call)) {
            let detail =
                format!("the call {step_index}/{} of {} may have happened and may not be repeated", call.call_index, call.name);
            return Err(Stop::Ending(Ending::failed("OUTCOME_UNKNOWN", detail)));
        }
        self.dispatch(step_index, &open).await?;
        let mut running = self.start(open);
        self.collect(step_index, &mut running).await
    }

    fn may_run(&self, call: &Call) -> bool {
        call.state == CallState::Reserved || self.is_repeatable(call)
    }

    fn is_repeatable(&self, call: &Call) -> bool {
        self.spec.agent.tool(&call.name).is_some_and(runmesh_domain::agent::Tool::is_idempotent)
    }

    /// Journals every call as dispatched, in one transaction, before any is made.
    async fn dispatch(&mut self, step_index: u32, calls: &[Call]) -> Result<(), Stop> {
        let entries = calls.iter().map(|call| {
            let (step_index, call_index) = (signed32(step_index), signed32(call.call_index));
            pb::journal_entry::Entry::CallDispatched(pb::CallDispatched { step_index, call_index, path: String::new() })
        });
        self.lease.record(entries.collect(), self.events.acked()).await?;
        for call in calls {
            self.set_call(call.call_index, CallState::Dispatched, "");
        }
        // A cancel that came with the answer spares the calls.
        match self.control.pending() {
            Some(interrupt @ (Interrupt::Lost | Interrupt::Cancel)) => Err(stop_at(interrupt, None)),
            Some(Interrupt::Drain) | None => Ok(()),
        }
    }

    fn start(&self, calls: Vec<Call>) -> Running {
        let mut running = Running { set: JoinSet::new(), repeatable: Vec::new() };
        for call in calls {
            let repeatable = self.is_repeatable(&call);
            let (toolbox, spec, call_index) = (self.kit.toolbox.clone(), Arc::clone(&self.spec), call.call_index);
            let span = trace::tool_call(&call.name, &call.call_id, call_index);
            let call = ToolCall { name: call.name, arguments: call.arguments, idempotency_key: call.idempotency_key };
            let secrets = self.kit.provider.secrets().clone();
            let task = async move {
                let outcome = toolbox.call(&spec.agent, &call).await;
                Ended { call_index, outcome: outcome.without_keys(&secrets) }
            };
            let handle = running.set.spawn(task.instrument(span));
            running.repeatable.extend(repeatable.then_some(handle));
        }
        running
    }

    /// Journals calls as they end, those that end together in one transaction.
    async fn collect(&mut self, step_index: u32, running: &mut Running) -> Result<(), Stop> {
        let control = Arc::clone(&self.control);
        while !running.set.is_empty() {
            let first = tokio::select! {
                biased;
                interrupt = control.interrupted() => return Err(self.interrupt_calls(interrupt, step_index, running).await),
                first = running.set.join_next() => first,
            };
            let rest = std::iter::from_fn(|| running.set.try_join_next());
            let ended = first.into_iter().chain(rest).collect::<Result<Vec<_>, _>>().map_err(broke)?;
            self.record(step_index, ended).await?;
        }
        Ok(())
    }

    /// A cancel drops the calls. A drain waits for those that may not be repeated, while there is time: given back in
    /// flight, they would need a human.
    async fn interrupt_calls(&mut self, interrupt: Interrupt, step_index: u32, running: &mut Running) -> Stop {
        if interrupt != Interrupt::Drain {
            return stop_at(interrupt, None);
        }
        running.repeatable.iter().for_each(AbortHandle::abort);
        let control = Arc::clone(&self.control);
        loop {
            let ended = tokio::select! {
                biased;
                () = control.lost.cancelled() => return Stop::Lost,
                () = control.cancel.cancelled() => return stop_at(Interrupt::Cancel, None),
                () = control.hurry.cancelled() => return stop_at(Interrupt::Drain, None),
                ended = running.set.join_next() => ended,
            };
            let recorded = match ended {
                None => return stop_at(Interrupt::Drain, None),
                Some(Ok(ended)) => self.record(step_index, vec![ended]).await,
                Some(Err(error)) if error.is_cancelled() => Ok(()),
                Some(Err(error)) => Err(broke(error)),
            };
            if let Err(stop) = recorded {
                return stop;
            }
        }
    }

    /// Journals ended calls, then tells of them.
    async fn record(&mut self, step_index: u32, ended: Vec<Ended>) -> Result<(), Stop> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for call in ended {
            bytes += call.outcome.content.len();
            if !batch.is_empty() && (bytes > RECORD_BYTES_MAX || batch.len() == JOURNAL_ENTRIES_MAX) {
                bytes = call.outcome.content.len();
                self.record_batch(step_index, std::mem::take(&mut batch)).await?;
            }
            batch.push(call);
        }
        self.record_batch(step_index, batch).await
    }

    async fn record_batch(&mut self, step_index: u32, batch: Vec<Ended>) -> Result<(), Stop> {
        let entries = batch.iter().map(|Ended { call_index, outcome }| {
            pb::journal_entry::Entry::CallDone(pb::CallDone {
                step_index: signed32(step_index),
                call_index: signed32(*call_index),
                content: outcome.content.clone(),
                is_error: outcome.is_error,
                path: String::new(),
            })
        });
        self.lease.record(entries.collect(), self.events.acked()).await?;
        for Ended { call_index, outcome: ToolOutcome { content, is_error } } in batch {
            self.set_call(call_index, if is_error { CallState::Failed } else { CallState::Done }, &content);
            self.events.push(Event::ToolCallFinished { step: step_index.into(), call_index, content, is_error }).await;
        }
        Ok(())
    }

    fn set_call(&mut self, call_index: u32, state: CallState, content: &str) {
        let calls = self.steps.last_mut().map(|step| step.calls.iter_mut());
        if let Some(call) = calls.into_iter().flatten().find(|call| call.call_index == call_index) {
            call.state = state;
            content.clone_into(&mut call.content);
        }
    }
}

/// A tool that panicked leaves its call in flight: whether it happened is not known.
fn broke(error: JoinError) -> Stop {
    tracing::error!(%error, "a tool broke");
    Stop::Ending(Ending::failed("TOOL_BROKE", "a tool of the worker broke"))
}
