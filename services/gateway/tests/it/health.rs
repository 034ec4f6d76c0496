//! What the gateway says of itself and of the services behind, and what it shows of the API.

use runmesh_gateway::GatewayConfig;
use runmesh_wire::descriptors;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

use crate::support::behind::Behind;
use crate::support::{Gateway, config, eventually, pair, soon};

async fn check(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await.map_err(|status| status.code())?;
    Ok(answer.get_ref().status())
}

#[tokio::test]
async fn a_service_serves_while_somebody_answers() {
    let (behind, gateway) = pair().await;
    let channel = gateway.channel().await;
    assert_eq!(check(&channel, "").await, Ok(ServingStatus::Serving), "without credentials");
    for service in runmesh_gateway::services() {
        eventually(service, async || check(&channel, service).await == Ok(ServingStatus::Serving)).await;
    }
    behind.kill().await;
    for service in runmesh_gateway::services() {
        eventually(service, async || check(&channel, service).await == Ok(ServingStatus::NotServing)).await;
    }
    assert_eq!(check(&channel, "").await, Ok(ServingStatus::Serving), "the gateway itself does");
    assert_eq!(check(&channel, "nothing.v1.Service").await, Err(Code::NotFound));
}

fn listing() -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) }
}

async fn ask(channel: Channel, request: ServerReflectionRequest) -> Result<ServerReflectionResponse, Code> {
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await;
    soon(answers.map_err(|status| status.code())?.into_inner().next()).await.unwrap().map_err(|status| status.code())
}

#[tokio::test]
async fn reflection_shows_every_service_when_it_is_on() {
    let behind = Behind::start("behind").await;
    let gateway = Gateway::start(GatewayConfig { reflection: true, ..config(&[&behind]) }).await;
    let answer = ask(gateway.channel().await, listing()).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in descriptors::services().into_iter().chain(["grpc.health.v1.Health".to_owned()]) {
        assert!(names.contains(&service), "{service} is not in {names:?}");
    }
    for symbol in ["runmesh.run.v1.RunService.SendMessage", "google.rpc.ErrorInfo", "google.protobuf.Timestamp"] {
        let request = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let answer = ask(gateway.channel().await, request).await.unwrap();
        assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))), "{symbol}");
    }
}

#[tokio::test]
async fn reflection_speaks_its_older_version_too() {
    let behind = Behind::start("behind").await;
    let gateway = Gateway::start(GatewayConfig { reflection: true, ..config(&[&behind]) }).await;
    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(gateway.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    assert!(soon(answers.next()).await.unwrap().is_ok());
}

#[tokio::test]
async fn reflection_is_off_by_default() {
    let (_behind, gateway) = pair().await;
    assert_eq!(ask(gateway.channel().await, listing()).await, Err(Code::Unimplemented));
}
