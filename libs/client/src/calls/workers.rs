//! The workers that serve the caller's org.

use crate::client::Client;
use crate::error::ClientError;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;

impl Client {
    /// Worker sessions, newest first, at most `size`; 0 for the mesh's default.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_workers(&self, size: u32) -> Result<Vec<pb::Worker>, ClientError> {
        let message = pb::ListWorkersRequest { page_size: i32::try_from(size).unwrap_or(i32::MAX) };
        let call = |channel, request| async move { WorkerServiceClient::new(channel).list_workers(request).await };
        Ok(self.unary(message, call).await?.workers)
    }
}
