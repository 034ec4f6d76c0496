//! The standard services of gRPC, asked for once each and within a deadline.

use crate::cli::context::Context;
use futures::stream;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// How long one probe may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Whether `service` is served, by the gateway's word; the gateway itself for the empty name.
///
/// # Errors
/// In words: why there is no such word.
pub async fn health(context: &Context, service: &str) -> Result<bool, String> {
    let mut client = HealthClient::new(context.client.channel());
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.set_timeout(DEADLINE);
    match within(client.check(request)).await {
        Ok(response) => Ok(response.into_inner().status() == ServingStatus::Serving),
        Err(Some(status)) if status.code() == Code::NotFound => Err("the gateway does not know it".to_owned()),
        Err(status) => Err(words(status)),
    }
}

/// The services that reflection lists.
///
/// # Errors
/// In words: why it lists none.
pub async fn reflected(context: &Context) -> Result<Vec<String>, String> {
    let mut client = ServerReflectionClient::new(context.client.channel());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut request = Request::new(stream::iter([request]));
    request.set_timeout(DEADLINE);
    let mut answers = within(client.server_reflection_info(request)).await.map_err(words)?.into_inner();
    let answer = within(answers.message()).await.map_err(words)?;
    match answer.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) if !list.service.is_empty() => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        Some(_) | None => Err("it lists nothing".to_owned()),
    }
}

/// The answer, or the status; no status when there was no answer in time.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Option<Status>> {
    match timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(Some),
        Err(_elapsed) => Err(None),
    }
}

fn words(status: Option<Status>) -> String {
    let Some(status) = status else { return format!("no answer within {} s", DEADLINE.as_secs()) };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&status);
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if text.is_empty() { format!("{:?}", status.code()) } else { text }
}
