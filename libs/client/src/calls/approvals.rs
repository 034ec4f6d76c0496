//! The inbox of what people have to decide.

use super::page::{Page, Paging};
use crate::client::Client;
use crate::error::ClientError;
use runmesh_wire::pb::approval as pb;
use runmesh_wire::pb::approval::approval_service_client::ApprovalServiceClient;

impl Client {
    /// Actions of the org that wait for a decision, oldest first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_pending_actions(&self, paging: Paging) -> Result<Page<pb::PendingAction>, ClientError> {
        let message = pb::ListPendingActionsRequest { page_size: paging.wire_size(), page_token: paging.token };
        let call = |channel, request| async move { ApprovalServiceClient::new(channel).list_pending_actions(request).await };
        let pb::ListPendingActionsResponse { actions, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(actions, next_page_token))
    }
}
