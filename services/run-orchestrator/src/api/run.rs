//! RunService.

use super::{Api, Done, answer, page};
use crate::auth::{self, Caller};
use crate::encode;
use crate::mesh::{Mesh, new_uuid};
use crate::sessions::Hand;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::limits::Queues;
use runmesh_domain::message::{Part, check_user_parts};
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Refusal, Result};
use runmesh_store::Tx;
use runmesh_store::runs::{self, Accepted, ClaimFor, Claimed, ListRuns, NewMessage, OnBusy};
use runmesh_store::steps;
use runmesh_wire::convert::{id, known, list, signed, signed32};
use runmesh_wire::pb::run as pb;
use runmesh_wire::{FromWire as _, IntoWire as _};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::run_service_server::RunService for Api {
    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<Response<pb::SendMessageResponse>, Status> {
        answer(self.0.send_message(request).await)
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        answer(self.0.get_run(request).await)
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        answer(self.0.list_runs(request).await)
    }

    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Result<Response<pb::ListQueueResponse>, Status> {
        answer(self.0.list_queue(request).await)
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::CancelRunResponse>, Status> {
        answer(self.0.cancel_run(request).await)
    }

    async fn get_run_history(
        &self,
        request: Request<pb::GetRunHistoryRequest>,
    ) -> Result<Response<pb::GetRunHistoryResponse>, Status> {
        answer(self.0.get_run_history(request).await)
    }
}

impl Mesh {
    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<pb::SendMessageResponse> {
        let caller = auth::caller(&request)?;
        // Of this call's own span, so that a caller without a trace gets one too.
        let traceparent = runmesh_host::propagate::traceparent();
        let mut body = request.into_inner();
        let key = std::mem::take(&mut body.idempotency_key);
        let on_busy = known("on_busy", body.on_busy)?;
        let pb::SendMessageRequest { idempotency_key: _, thread_id, parts, on_busy: _ } = body.clone();
        let new = self.new_message(caller, &thread_id, list("parts", parts)?, on_busy, traceparent)?;
        let (hand, queues) = (self.sessions.hand(), self.queues);
        self.mutate(caller, "SendMessage", key, &body, move |tx| {
            let (new, hand) = (new.clone(), hand.clone());
            Box::pin(async move {
                let accepted = runs::send(tx, new).await?;
                let claimed = match hand {
                    Some(hand) if accepted.ready => claim_at_once(tx, &hand, queues).await?.map(|claimed| (hand, claimed)),
                    Some(_) | None => None,
                };
                let answer = answer_of(&accepted);
                // A claim brings along what came before it on its run.
                let told = claimed.as_ref().is_some_and(|(_, claimed)| claimed.row.run.id == accepted.run);
                let committed = if told { Vec::new() } else { accepted.committed };
                Ok(Done { answer, committed, claimed })
            })
        })
        .await
    }

    fn new_message(
        &self,
        caller: Caller,
        thread_id: &str,
        parts: Vec<Part>,
        on_busy: pb::send_message_request::OnBusy,
        traceparent: String,
    ) -> Result<NewMessage> {
        let thread: ThreadId = id("thread_id", thread_id)?;
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
        })
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<pb::GetRunResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetRunRequest { run_id } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        let row = self.read(caller, move |tx| Box::pin(async move { runs::get(tx, caller.org, run).await })).await?;
        Ok(pb::GetRunResponse { run: Some(encode::run(row)) })
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<pb::ListRunsResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListRunsRequest { page_size: size, page_token, thread_id, states } = request.into_inner();
        let thread = (!thread_id.is_empty()).then(|| id("thread_id", &thread_id)).transpose()?;
        let state = |number: i32| known::<pb::run::State>("states", number)?.from_wire("states");
        let states = states.into_iter().map(state).collect::<Result<Vec<StateName>, Refusal>>()?;
        let wanted = ListRuns { page: page(size, page_token)?, thread, states };
        let page = self
            .read(caller, move |tx| {
                let wanted = wanted.clone();
                Box::pin(async move { runs::list(tx, caller.org, &wanted).await })
            })
            .await?;
        let runs = page.items.into_iter().map(encode::run).collect();
        Ok(pb::ListRunsResponse { runs, next_page_token: page.next_page_token })
    }

    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Result<pb::ListQueueResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListQueueRequest { thread_id } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let rows = self.read(caller, move |tx| Box::pin(async move { runs::queue(tx, caller.org, thread).await })).await?;
        Ok(pb::ListQueueResponse { runs: rows.into_iter().map(encode::run).collect() })
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<pb::CancelRunResponse> {
        let caller = auth::caller(&request)?;
        let mut body = request.into_inner();
        let key = std::mem::take(&mut body.idempotency_key);
        let run: RunId = id("run_id", &body.run_id)?;
        let mesh = self.clone();
        self.mutate(caller, "CancelRun", key, &body, move |tx| {
            let mesh = mesh.clone();
            Box::pin(async move {
                let (row, committed) = runs::cancel(tx, caller.org, caller.user, run).await?;
                if let (true, Some(session)) = (row.run.cancel_requested, row.run.state.session()) {
                    // A hint before the commit does no harm: the worker asks again, and the heartbeat's answer is the truth.
                    mesh.bus.hint_cancel(run, row.run.fence, session);
                }
                Ok(Done::with(pb::CancelRunResponse { run: Some(encode::run(row)), replayed: false }, committed))
            })
        })
        .await
    }

    async fn get_run_history(&self, request: Request<pb::GetRunHistoryRequest>) -> Result<pb::GetRunHistoryResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetRunHistoryRequest { run_id, include_steps } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        self.read(caller, move |tx| {
            Box::pin(async move {
                let row = runs::get(tx, caller.org, run).await?;
                let transitions = runs::history(tx, caller.org, run).await?;
                let steps = if include_steps { steps::load(tx, run).await? } else { Vec::new() };
                Ok(pb::GetRunHistoryResponse {
                    run: Some(encode::run(row)),
                    transitions: transitions.iter().map(|transition| transition.into_wire()).collect(),
                    steps: steps.into_iter().map(encode::step).collect(),
                })
            })
        })
        .await
    }
}

/// A worker here with room takes a run of the org in the accepting transaction: one commit and one round of waking less. It
/// takes what is next, not what was just accepted, and waits for nobody; what it leaves, the dispatcher claims.
async fn claim_at_once(tx: &mut Tx, hand: &Hand, queues: Queues) -> Result<Option<Claimed>> {
    let claim = ClaimFor { session: hand.stream.session, limit: 1, queues, wait: false };
    match runs::claim(tx, claim).await {
        Ok(mut claimed) => Ok(claimed.pop()),
        // The session is over, which is nothing to the sender.
        Err(Error::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn answer_of(accepted: &Accepted) -> pb::SendMessageResponse {
    pb::SendMessageResponse {
        run_id: accepted.run.to_string(),
        message_id: accepted.message.to_string(),
        turn_number: signed(accepted.turn_number),
        queue_position: signed32(accepted.queue_position),
        cursor: Cursor::start(accepted.thread, accepted.run).to_string(),
        replayed: false,
    }
}
