//! ApprovalService.

use runmesh_command::Command;
use runmesh_domain::id::OrgId;
use runmesh_domain::{Error, Result};
use runmesh_host::signed::Verified;
use runmesh_store::actions::{self, PendingAction};
use runmesh_store::{Db, Page, PageRequest, Tx};
use runmesh_wire::caller;
use runmesh_wire::convert::{signed, signed32, unsigned};
use runmesh_wire::pb::approval as pb;
use runmesh_wire::{IntoWire as _, status};
use tonic::{Request, Response, Status};

/// Serves ApprovalService.
pub struct Api {
    db: Db,
}

impl Api {
    /// Over a database.
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    async fn list(&self, request: Request<pb::ListPendingActionsRequest>) -> Result<pb::ListPendingActionsResponse> {
        let caller = caller::user(Verified::of(request.extensions()))?;
        let pb::ListPendingActionsRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest { page_size: unsigned("page_size", page_size)?, page_token };
        let page = runmesh_command::read(&self.db, caller, ListPending { org: caller.org, page }).await?;
        let actions = page.items.into_iter().map(encode).collect();
        Ok(pb::ListPendingActionsResponse { actions, next_page_token: page.next_page_token })
    }
}

/// Reads a page of the actions that an org's people may decide.
struct ListPending {
    org: OrgId,
    page: PageRequest,
}

impl Command for ListPending {
    type Answer = Page<PendingAction>;

    async fn run(&self, tx: &mut Tx) -> Result<Page<PendingAction>> {
        actions::list_pending(tx, self.org, &self.page).await
    }
}

fn encode(action: PendingAction) -> pb::PendingAction {
    let PendingAction { id, run, thread, kind: _, summary, calls, late_results, created_at, expires_at } = action;
    let calls = calls.into_iter().map(|call| pb::ActionCall {
        step_index: signed32(call.step_index),
        call_index: signed32(call.call_index),
        name: call.name,
        arguments_digest: call.arguments_digest,
        arguments_json: call.arguments,
        path: call.path.to_string(),
    });
    let late_results = late_results.into_iter().map(|late| pb::LateResult {
        step_index: signed32(late.call.step.step_index),
        call_index: signed32(late.call.call_index),
        fence: signed(late.fence),
        content: late.content,
        is_error: late.is_error,
        receive_time: Some(late.at.into_wire()),
        path: late.call.step.path.to_string(),
    });
    pb::PendingAction {
        action_id: id.to_string(),
        run_id: run.to_string(),
        thread_id: thread.to_string(),
        kind: pb::pending_action::Kind::Recovery.into(),
        summary,
        calls: calls.collect(),
        late_results: late_results.collect(),
        create_time: Some(created_at.into_wire()),
        expire_time: Some(expires_at.into_wire()),
    }
}

#[tonic::async_trait]
impl pb::approval_service_server::ApprovalService for Api {
    async fn list_pending_actions(
        &self,
        request: Request<pb::ListPendingActionsRequest>,
    ) -> Result<Response<pb::ListPendingActionsResponse>, Status> {
        self.list(request).await.map(Response::new).map_err(|error| {
            if let Error::Fault(fault) = &error {
                runmesh_host::outage::log_failed_call(fault, fault.is_outage());
            }
            status::of(&error)
        })
    }
}
