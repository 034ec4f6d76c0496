//! RunService.

use super::{Api, Done, answer, page};
use crate::auth::{self, Caller};
use crate::encode;
use crate::idempotent::By;
use crate::mesh::{Mesh, new_uuid};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::message::{Part, check_user_parts};
use runmesh_domain::run::StateName;
use runmesh_domain::{Refusal, Result};
use runmesh_store::runs::{self, Accepted, ListRuns, NewMessage, OnBusy};
use runmesh_store::steps;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::{id, known, list, signed, signed32};
use runmesh_wire::pb::run as pb;
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
        let read = |request| self.new_message(caller, request, traceparent);
        // A worker here with room takes the run in the accepting transaction, when nothing else of the org waits.
        let (hand, queues) = (self.sessions.hand(), self.queues);
        let claim_follows = hand.is_some();
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, new| {
            let hand = hand.clone();
            Box::pin(async move {
                let accepted = runs::send(tx, NewMessage { claim_follows, ..new }).await?;
                let claimed = match hand {
                    Some(hand) => {
                        let claimed = runs::claim_accepted(tx, &accepted, hand.stream.session, queues).await?;
                        claimed.map(|claimed| (hand, claimed))
                    }
                    None => None,
                };
                let answer = answer_of(&accepted);
                // A claim brings along what came before it on its run.
                let committed = if claimed.is_some() { Vec::new() } else { accepted.committed };
                Ok(Done { claimed, ..Done::with(answer, committed) })
            })
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

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<pb::GetRunResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetRunRequest { run_id } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        let queues = self.queues;
        let row = self.read(caller, move |tx| {
            Box::pin(async move {
                let mut row = runs::get(tx, caller.org, run).await?;
                runs::see_blocked(tx, std::slice::from_mut(&mut row), &queues).await?;
                Ok(row)
            })
        });
        Ok(pb::GetRunResponse { run: Some(encode::run(row.await?)) })
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<pb::ListRunsResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListRunsRequest { page_size: size, page_token, thread_id, states } = request.into_inner();
        let thread = (!thread_id.is_empty()).then(|| id("thread_id", &thread_id)).transpose()?;
        let state = |number: i32| known::<pb::run::State>("states", number)?.from_wire("states");
        let states = states.into_iter().map(state).collect::<Result<Vec<StateName>, Refusal>>()?;
        let wanted = ListRuns { page: page(size, page_token)?, thread, states };
        let queues = self.queues;
        let page = self
            .read(caller, move |tx| {
                let wanted = wanted.clone();
                Box::pin(async move {
                    let mut page = runs::list(tx, caller.org, &wanted).await?;
                    runs::see_blocked(tx, &mut page.items, &queues).await?;
                    Ok(page)
                })
            })
            .await?;
        let runs = page.items.into_iter().map(encode::run).collect();
        Ok(pb::ListRunsResponse { runs, next_page_token: page.next_page_token })
    }

    async fn list_queue(&self, request: Request<pb::ListQueueRequest>) -> Result<pb::ListQueueResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListQueueRequest { thread_id } = request.into_inner();
        let thread: ThreadId = id("thread_id", &thread_id)?;
        let queues = self.queues;
        let rows = self.read(caller, move |tx| {
            Box::pin(async move {
                let mut rows = runs::queue(tx, caller.org, thread).await?;
                runs::see_blocked(tx, &mut rows, &queues).await?;
                Ok(rows)
            })
        });
        Ok(pb::ListQueueResponse { runs: rows.await?.into_iter().map(encode::run).collect() })
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<pb::CancelRunResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::CancelRunRequest { idempotency_key: _, run_id } = request;
            Ok(id::<RunId>("run_id", &run_id)?)
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, run| {
            Box::pin(async move {
                let (row, committed) = runs::cancel(tx, caller.org, caller.user, run).await?;
                let answer = pb::CancelRunResponse { run: Some(encode::run(row.clone())), replayed: false };
                Ok(Done::with(answer, committed).hinting([&row]))
            })
        })
        .await
    }

    async fn get_run_history(&self, request: Request<pb::GetRunHistoryRequest>) -> Result<pb::GetRunHistoryResponse> {
        let caller = auth::caller(&request)?;
        let pb::GetRunHistoryRequest { run_id, include_steps, page_size: size, page_token } = request.into_inner();
        let run: RunId = id("run_id", &run_id)?;
        let (page, queues) = (page(size, page_token)?, self.queues);
        let history = self
            .read(caller, move |tx| {
                let page = page.clone();
                Box::pin(async move {
                    let mut history = steps::history(tx, caller.org, run, &page, include_steps).await?;
                    runs::see_blocked(tx, std::slice::from_mut(&mut history.run), &queues).await?;
                    Ok(history)
                })
            })
            .await?;
        Ok(encode::history(history))
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
