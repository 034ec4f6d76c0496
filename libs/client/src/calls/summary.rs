//! What is going on in the org.

use crate::client::Client;
use crate::error::ClientError;
use runmesh_wire::pb::summary as pb;
use runmesh_wire::pb::summary::summary_service_client::SummaryServiceClient;

impl Client {
    /// The numbers, and at most `size` of the runs behind them; 0 for the mesh's default.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn get_summary(&self, size: u32) -> Result<pb::GetSummaryResponse, ClientError> {
        let message = pb::GetSummaryRequest { page_size: i32::try_from(size).unwrap_or(i32::MAX) };
        let call = |channel, request| async move { SummaryServiceClient::new(channel).get_summary(request).await };
        self.unary(message, call).await
    }
}
