//! RunService.

use super::{answer, page};
use crate::assign::Assigner;
use crate::commands::runs::{AcceptMessage, CancelRun, FindRuns, GetHistory, GetRun, ListQueue};
use crate::ids::new_uuid;
use crate::sessions::{ReservedSlot, Sessions};
use crate::{encode, principal};
use runmesh_command::{By, Caller, Commands, Idempotent};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::limits::Queues;
use runmesh_domain::message::{Part, check_user_parts};
use runmesh_domain::run::StateName;
use runmesh_domain::{Refusal, Result};
use runmesh_store::runs::{Accepted, ListRuns, NewMessage, OnBusy, RunRow};
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::{id, known, list, signed, signed32};
use runmesh_wire::pb::run as pb;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves RunService.
pub struct RunApi {
    pub commands: Commands,
    pub sessions: Arc<Sessions>,
    pub assigner: Assigner,
    pub queues: Queues,
    pub default_model: Option<String>,
}

#[tonic::async_trait]
impl pb::run_service_server::RunService for RunApi {
    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<Response<pb::SendMessageResponse>, Status> {
        answer(self.send(request).await)
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        answer(self.get(request).await)
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Result<Response<pb::ListQueueResponse>, Status> {
        answer(self.queue(request).await)
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::CancelRunResponse>, Status> {
        answer(self.cancel(request).await)
    }

    async fn get_run_history(
        &self,
        request: Request<pb::GetRunHistoryRequest>,
    ) -> Result<Response<pb::GetRunHistoryResponse>, Status> {
        answer(self.history(request).await)
    }
}

fn decode_cancel(caller: Caller, request: pb::CancelRunRequest) -> Result<CancelRun> {
    let pb::CancelRunRequest { idempotency_key: _, run_id } = request;
    Ok(CancelRun { org: caller.org, user: caller.user, run: id("run_id", &run_id)? })
}

impl RunApi {
    async fn send(&self, request: Request<pb::SendMessageRequest>) -> Result<pb::SendMessageResponse> {
        let caller = principal::caller(&request)?;
        // Of this call's own span, so that a caller without a trace gets one too.
        let traceparent = runmesh_host::propagate::traceparent();
        // A worker here with room gets the run in the accepting transaction, when nothing else of the org waits.
        let slot = self.sessions.reserve_slot();
        let claim_for = slot.as_ref().map(ReservedSlot::session);
        let accept = |new| AcceptMessage { new, claim_for };
        let decode = |request| self.new_message(caller, request, traceparent).map(accept);
        let call = Idempotent::new(By::Member(caller), request.into_inner(), decode, encode_accepted)?;
        let (commands, assigner) = (self.commands.clone(), self.assigner.clone());
        self.commands
            .spawn_detached(async move {
                let (answer, claimed) = commands.mutate_attached(call).await?;
                if let (Some(slot), Some(claimed)) = (slot, claimed) {
                    assigner.assign(&slot.spend(), claimed).await;
                }
                Ok(answer)
            })
            .await
    }

    fn new_message(&self, caller: Caller, request: pb::SendMessageRequest, traceparent: String) -> Result<NewMessage> {
        let on_busy: pb::send_message_request::OnBusy = known("on_busy", request.on_busy)?;
        let pb::SendMessageRequest { idempotency_key: _, thread_id, parts, on_busy: _ } = request;
        let parts: Vec<Part> = list("parts", parts)?;
        let thread: ThreadId = id("thread_id", &thread_id)?;
        check_user_parts(&parts)?;
        let on_busy = match on_busy {
            pb::send_message_request::OnBusy::Unspecified | pb::send_message_request::OnBusy::Enqueue => OnBusy::Enqueue,
            pb::send_message_request::OnBusy::Reject => OnBusy::Reject,
        };
        Ok(NewMessage {
            org: caller.org,
            user: caller.user,
            thread,
            parts,
            on_busy,
            default_model: self.default_model.clone(),
            traceparent,
            run: RunId::from_uuid(new_uuid()),
            message: MessageId::from_uuid(new_uuid()),
            queues: self.queues,
            claim_follows: false,
        })
    }

    async fn get(&self, request: Request<pb::GetRunRequest>) -> Result<pb::GetRunResponse> {
        let caller = principal::caller(&request)?;
        let pb::GetRunRequest { run_id } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        let row = self.commands.read(caller, GetRun { org: caller.org, run, queues: self.queues }).await?;
        Ok(pb::GetRunResponse { run: Some(encode::run(row)) })
    }

    async fn list(&self, request: Request<pb::ListRunsRequest>) -> Result<pb::ListRunsResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListRunsRequest { page_size: size, page_token, thread_id, states, set_aside } = request.into_inner();
        let thread = (!thread_id.is_empty()).then(|| id("thread_id", &thread_id)).transpose()?;
        let state = |number: i32| known::<pb::run::State>("states", number)?.from_wire("states");
        let states = states.into_iter().map(state).collect::<Result<Vec<StateName>, Refusal>>()?;
        let wanted = ListRuns { page: page(size, page_token)?, thread, states, set_aside };
        let page = self.commands.read(caller, FindRuns { org: caller.org, wanted, queues: self.queues }).await?;
        let runs = page.items.into_iter().map(encode::run).collect();
        Ok(pb::ListRunsResponse { runs, next_page_token: page.next_page_token })
    }

    async fn queue(&self, request: Request<pb::ListQueueRequest>) -> Result<pb::ListQueueResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListQueueRequest { thread_id } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let rows = self.commands.read(caller, ListQueue { org: caller.org, thread, queues: self.queues }).await?;
        Ok(pb::ListQueueResponse { runs: rows.into_iter().map(encode::run).collect() })
    }

    async fn cancel(&self, request: Request<pb::CancelRunRequest>) -> Result<pb::CancelRunResponse> {
        let caller = principal::caller(&request)?;
        let encode = |row: RunRow| pb::CancelRunResponse { run: Some(encode::run(row)), replayed: false };
        let decode = |request| decode_cancel(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn history(&self, request: Request<pb::GetRunHistoryRequest>) -> Result<pb::GetRunHistoryResponse> {
        let caller = principal::caller(&request)?;
        let pb::GetRunHistoryRequest { run_id, include_steps, page_size: size, page_token } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        let (page, queues) = (page(size, page_token)?, self.queues);
        let history = self.commands.read(caller, GetHistory { org: caller.org, run, page, include_steps, queues }).await?;
        Ok(encode::history(history))
    }
}

fn encode_accepted(accepted: Accepted) -> pb::SendMessageResponse {
    pb::SendMessageResponse {
        run_id: accepted.run.to_string(),
        message_id: accepted.message.to_string(),
        turn_number: signed(accepted.turn_number),
        queue_position: signed32(accepted.queue_position),
        cursor: Cursor::start(accepted.thread, accepted.run).to_string(),
        replayed: false,
    }
}
