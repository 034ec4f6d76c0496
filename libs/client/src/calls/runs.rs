//! Sending messages, and what became of them.

use super::page::{Page, Paging};
use crate::client::Client;
use crate::error::ClientError;
use crate::key;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::message::Part;
use runmesh_domain::run::StateName;
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::{id, required, unsigned};
use runmesh_wire::pb::run as pb;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;

/// What a message does to a busy thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBusy {
    /// It waits its turn.
    #[default]
    Enqueue,
    /// It is refused with `THREAD_BUSY`.
    Reject,
}

/// How to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendOptions {
    /// What it does to a busy thread.
    pub on_busy: OnBusy,
    /// Makes a repeat of this very call harmless, 1 to 128 visible ASCII characters; a new one is made when absent.
    pub idempotency_key: Option<String>,
}

/// An accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The run that answers it.
    pub run: RunId,
    /// The stored message.
    pub message: MessageId,
    /// Its place in acceptance on the thread, from 1.
    pub turn_number: u64,
    /// How many turns of the thread come before it.
    pub queue_position: u32,
    /// A cursor before the run's first event.
    pub cursor: String,
    /// True when this is the stored answer of an earlier call with the same key.
    pub replayed: bool,
}

impl TryFrom<pb::SendMessageResponse> for Sent {
    type Error = ClientError;

    fn try_from(wire: pb::SendMessageResponse) -> Result<Self, ClientError> {
        let pb::SendMessageResponse { run_id, message_id, turn_number, queue_position, cursor, replayed } = wire;
        Ok(Self {
            run: id("run_id", &run_id)?,
            message: id("message_id", &message_id)?,
            turn_number: unsigned("turn_number", turn_number)?,
            queue_position: unsigned("queue_position", queue_position)?,
            cursor,
            replayed,
        })
    }
}

/// Which runs to list; every run of the org by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only those in one of these states, when there are any.
    pub states: Vec<StateName>,
    /// Only those that were set aside, because a part of them cannot be read, and that are not over.
    pub set_aside: bool,
}

impl Client {
    /// Sends `text` to a thread. Answers once the message is stored, with the run that will answer it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `THREAD_BUSY`, `QUEUE_LIMIT`, `AGENT_DELETED`, `MODEL_NOT_CONFIGURED`, `INVALID_FIELD`,
    /// `IDEMPOTENCY_KEY_REUSED`, and those of every call.
    pub async fn send(&self, thread: ThreadId, text: impl Into<String>, options: SendOptions) -> Result<Sent, ClientError> {
        let SendOptions { on_busy, idempotency_key } = options;
        let on_busy = match on_busy {
            OnBusy::Enqueue => pb::send_message_request::OnBusy::Enqueue,
            OnBusy::Reject => pb::send_message_request::OnBusy::Reject,
        };
        let message = pb::SendMessageRequest {
            idempotency_key: idempotency_key.unwrap_or_else(key::new),
            thread_id: thread.to_string(),
            parts: vec![Part::text(text).into_wire()],
            on_busy: on_busy.into(),
        };
        let call = |channel, request| async move { RunServiceClient::new(channel).send_message(request).await };
        self.unary(message, call).await?.try_into()
    }

    /// One run.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn get_run(&self, run: RunId) -> Result<pb::Run, ClientError> {
        let message = pb::GetRunRequest { run_id: run.to_string() };
        let call = |channel, request| async move { RunServiceClient::new(channel).get_run(request).await };
        Ok(required("run", self.unary(message, call).await?.run)?)
    }

    /// The org's runs, newest first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_runs(&self, filter: &RunFilter, paging: Paging) -> Result<Page<pb::Run>, ClientError> {
        let states = filter.states.iter().map(|state| i32::from(state_on_wire(*state))).collect();
        let message = pb::ListRunsRequest {
            page_size: paging.wire_size(),
            page_token: paging.token,
            thread_id: filter.thread.map(|thread| thread.to_string()).unwrap_or_default(),
            states,
            set_aside: filter.set_aside,
        };
        let call = |channel, request| async move { RunServiceClient::new(channel).list_runs(request).await };
        let pb::ListRunsResponse { runs, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(runs, next_page_token))
    }

    /// The run that holds a thread, if one does, and those queued behind it.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn list_queue(&self, thread: ThreadId) -> Result<Vec<pb::Run>, ClientError> {
        let message = pb::ListQueueRequest { thread_id: thread.to_string() };
        let call = |channel, request| async move { RunServiceClient::new(channel).list_queue(request).await };
        Ok(self.unary(message, call).await?.runs)
    }

    /// Ends a run. Once answered it ends, whatever dies; ending it twice or after its end is no error.
    ///
    /// # Errors
    /// `NOT_FOUND`, `PERMISSION_DENIED`, and those of every call.
    pub async fn cancel_run(&self, run: RunId) -> Result<pb::Run, ClientError> {
        let message = pb::CancelRunRequest { idempotency_key: key::new(), run_id: run.to_string() };
        let call = |channel, request| async move { RunServiceClient::new(channel).cancel_run(request).await };
        Ok(required("run", self.unary(message, call).await?.run)?)
    }

    /// Every transition of a run and, with `steps`, what its journal holds, however many pages that is.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn history(&self, run: RunId, steps: bool) -> Result<pb::GetRunHistoryResponse, ClientError> {
        let mut whole = self.history_page(run, steps, String::new()).await?;
        while !whole.next_page_token.is_empty() {
            let page = self.history_page(run, steps, std::mem::take(&mut whole.next_page_token)).await?;
            add_page(&mut whole, page);
        }
        Ok(whole)
    }

    async fn history_page(&self, run: RunId, steps: bool, token: String) -> Result<pb::GetRunHistoryResponse, ClientError> {
        let message = pb::GetRunHistoryRequest { run_id: run.to_string(), include_steps: steps, page_size: 0, page_token: token };
        let call = |channel, request| async move { RunServiceClient::new(channel).get_run_history(request).await };
        self.unary(message, call).await
    }
}

/// Adds the next page of a history. It may begin within the step that the last one ended in. The run stays as it was with the
/// transitions before.
fn add_page(whole: &mut pb::GetRunHistoryResponse, page: pb::GetRunHistoryResponse) {
    let pb::GetRunHistoryResponse { run: _, transitions, steps, next_page_token } = page;
    whole.transitions.extend(transitions);
    for step in steps {
        match whole.steps.last_mut() {
            Some(last) if last.step_index == step.step_index && last.path == step.path => last.calls.extend(step.calls),
            _ => whole.steps.push(step),
        }
    }
    whole.next_page_token = next_page_token;
}

fn state_on_wire(state: StateName) -> pb::run::State {
    state.into_wire()
}
