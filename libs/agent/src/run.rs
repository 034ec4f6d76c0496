//! The loop of one run: from its journal on, model calls and tool calls in turn, until the run ends or is given back.
//!
//! *Invariant R4, the worker's side:* what the journal holds is never done again; a call is journaled as dispatched
//! before it is made, and one that may have happened and may not be repeated is not made. The loop writes only under its
//! lease and stops at the first sign that it is gone.

mod assembly;
mod assigned;
mod calls;
mod context;
mod ending;
mod lease;
mod model_step;

pub(crate) use assigned::Assigned;

use crate::appender::{Attempt, Events};
use crate::control::{Control, Interrupt};
use crate::history::{History, Window};
use crate::mesh::{Channels, Credentials};
use crate::model::{ChatTool, Provider};
use crate::tools::Toolbox;
use ending::{Ending, Stop};
use lease::{Halt, Lease};
use runmesh_domain::journal::{ModelStep, Step};
use runmesh_domain::message::Message;
use runmesh_domain::spec::RunSpec;
use runmesh_wire::convert::journal::{Context, HeldRun};
use std::collections::HashSet;
use std::sync::Arc;

/// What every run of a worker shares.
#[derive(Debug, Clone)]
pub(crate) struct Kit {
    pub(crate) provider: Provider,
    pub(crate) toolbox: Toolbox,
    pub(crate) channels: Channels,
    pub(crate) credentials: Credentials,
}

/// One attempt under way.
struct Drive {
    kit: Kit,
    control: Arc<Control>,
    lease: Arc<Lease>,
    events: Events,
    spec: Arc<RunSpec>,
    tools: Vec<ChatTool>,
    history: History,
    /// The journaled steps of the top level: this loop drives no branches.
    steps: Vec<Step>,
    /// How many of the steps the history holds.
    steps_in_history: usize,
    /// Ids of the calls of all steps.
    call_ids: HashSet<String>,
    /// Turns that followers were told are left out of the prompt.
    omitted_told: u32,
}

/// Releases a run that this worker cannot read, with its log where it was.
pub(crate) async fn give_back(kit: Kit, held: HeldRun, control: Arc<Control>) {
    let (channel, credentials) = (kit.channels.calls, kit.credentials);
    release(&Lease { held, channel, credentials, control, traceparent: String::new() }).await;
}

async fn release(lease: &Lease) {
    if let Err(halt) = lease.release(None).await {
        tracing::warn!(?halt, "a run could not be released; its lease will run out");
    }
}

/// Drives a run until its attempt is over. Never fails: what goes wrong ends the run, or leaves it to its lease.
pub(crate) async fn drive(kit: Kit, assigned: Assigned, control: Arc<Control>) {
    if assigned.cancel_requested {
        control.cancel.cancel();
    }
    let lease = Arc::new(Lease {
        held: assigned.held,
        channel: kit.channels.calls.clone(),
        credentials: kit.credentials.clone(),
        control: Arc::clone(&control),
        traceparent: assigned.traceparent.clone(),
    });
    let tools = ChatTool::of_spec(&assigned.spec.agent);
    let window = Window::new(&assigned.spec.agent, &tools);
    let context = match context::read(&lease, assigned.context.clone(), &window).await {
        Ok(context) => context,
        Err(Halt::Lost) => return tracing::info!("the lease is gone before the run's context was read"),
        Err(Halt::Unreadable(detail)) => {
            tracing::error!(detail, "this worker cannot read the run's context and releases the run");
            return release(&lease).await;
        }
        Err(Halt::Refused(detail) | Halt::Full(detail)) => {
            return ending::say_unreadable(&lease, assigned.position, detail).await;
        }
    };
    let mut drive = Drive::new(kit, &assigned, (tools, context), control, Arc::clone(&lease));
    let ending = match drive.play().await {
        Ok(ending) | Err(Stop::Ending(ending)) => ending,
        Err(Stop::Lost) => return tracing::info!("the lease is gone; the run is dropped"),
    };
    drive.close(ending).await;
}

impl Drive {
    fn new(
        kit: Kit,
        assigned: &Assigned,
        (tools, context): (Vec<ChatTool>, Context),
        control: Arc<Control>,
        lease: Arc<Lease>,
    ) -> Self {
        let Context { messages, steps, next_page_token } = context;
        let attempt = Attempt { held: assigned.held, position: assigned.position, traceparent: assigned.traceparent.clone() };
        let events = Events::open(&kit.channels, &kit.credentials, &control, attempt, &steps);
        let unread = if next_page_token.is_empty() { 0 } else { turns_before(&messages) };
        let history = History::new(&assigned.spec.agent, &tools, &messages, unread);
        let steps: Vec<Step> = steps.into_iter().filter(|step| step.path.is_top()).collect();
        let call_ids = steps.iter().flat_map(|step| &step.calls).map(|call| call.call_id.clone()).collect();
        let spec = Arc::new(assigned.spec.clone());
        Self { kit, control, lease, events, spec, tools, history, steps, steps_in_history: 0, call_ids, omitted_told: 0 }
    }

    /// Steps until the run is over.
    async fn play(&mut self) -> Result<Ending, Stop> {
        loop {
            if let Some(interrupt) = self.control.pending() {
                return Err(stop_at(interrupt, None));
            }
            self.run_calls().await?;
            if let Some(outcome) = self.steps.last().and_then(|step| ending::outcome_of(&step.result, false)) {
                return Ok(Ending::Finish { outcome, last_step: None, unfinished: false });
            }
            let step_index = self.steps.last().map_or(0, |step| step.step_index) + 1;
            let steps_max = self.spec.agent.limits.max_steps;
            if step_index > steps_max {
                return Ok(Ending::failed("STEP_LIMIT", "the agent may make no more model calls in this turn"));
            }
            self.extend_history();
            let step = self.model_step(step_index).await?;
            if let Some(outcome) = ending::outcome_of(&step, step_index >= steps_max) {
                return Ok(Ending::with_step(outcome, step_index, step));
            }
            self.journal_step(step_index, step).await?;
        }
    }

    /// Steps whose calls are over enter the prompt.
    fn extend_history(&mut self) {
        for step in self.steps.iter().skip(self.steps_in_history) {
            self.history.add_step(step);
        }
        self.steps_in_history = self.steps.len();
    }

    async fn close(self, ending: Ending) {
        let said = ending::say(ending, &self.lease, &self.events).await;
        match said {
            Ok(()) => self.events.close().await,
            Err(halt) => tracing::warn!(?halt, "the end of the run could not be said"),
        }
    }
}

/// Turns before the oldest message, by their numbers.
fn turns_before(messages: &[Message]) -> u64 {
    messages.first().map_or(0, |oldest| oldest.turn_number.saturating_sub(1))
}

/// What an interrupt means for an attempt that has said `partial` in its current step.
fn stop_at(interrupt: Interrupt, partial: Option<(u32, ModelStep)>) -> Stop {
    match interrupt {
        Interrupt::Lost => Stop::Lost,
        Interrupt::Cancel => Stop::Ending(Ending::canceled(partial)),
        Interrupt::Drain => Stop::Ending(Ending::Release),
    }
}
