//! gRPC by itself: the messages of the workload between a server that knows nothing and its client, over loopback.

use super::failed;
use crate::failure::Failure;
use runmesh_wire::pb::run::SendMessageRequest;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;
use runmesh_wire::pb::run::run_service_server::RunServiceServer;
use runmesh_wire::pb::stream::AttachRunRequest;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::stream::stream_service_server::StreamServiceServer;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

mod stub;

/// Deltas of one run.
const DELTAS: usize = 200;
/// Connections that the clients share, as in the bench of the mesh.
const CONNECTIONS: usize = 4;

/// One unary call and one stream of 200 deltas of 24 bytes, over and over by `clients`: pairs a second.
pub(super) async fn runs_per_second(clients: usize, duration: Duration) -> Result<f64, Failure> {
    let listener = crate::serve::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().map_err(|error| failed("address", error))?;
    let server = Server::builder()
        .add_service(RunServiceServer::new(stub::Stub))
        .add_service(StreamServiceServer::new(stub::Stub))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let server = tokio::spawn(server);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed("address", error))?;
    let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| endpoint.clone().tcp_nodelay(true).connect_lazy()).collect();
    let measured = measure(&channels, clients, duration).await;
    server.abort();
    // Aborted on purpose: how it ended says nothing.
    drop(server.await);
    measured
}

async fn measure(channels: &[Channel], clients: usize, duration: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for channel in channels.iter().cycle().take(clients) {
        let channel = channel.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while began.elapsed() < duration {
                one(&channel).await?;
                count += 1;
            }
            Ok::<u32, Failure>(count)
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.map_err(|error| failed("raw gRPC", error))??;
    }
    Ok(f64::from(total) / began.elapsed().as_secs_f64())
}

async fn one(channel: &Channel) -> Result<(), Failure> {
    let broken = |status| failed("raw gRPC", status);
    let message = SendMessageRequest { idempotency_key: "k".repeat(36), ..Default::default() };
    let sent = RunServiceClient::new(channel.clone()).send_message(message).await.map_err(broken)?.into_inner();
    let attach = AttachRunRequest { run_id: sent.run_id, from: None };
    let mut frames = StreamServiceClient::new(channel.clone()).attach_run(attach).await.map_err(broken)?.into_inner();
    let mut count = 0;
    while frames.message().await.map_err(broken)?.is_some() {
        count += 1;
    }
    if count == DELTAS { Ok(()) } else { Err(failed("raw gRPC", format!("{count} frames"))) }
}
