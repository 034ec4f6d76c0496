//! `grpc.health.v1` and readiness in one place: what a service says of itself, and NOT_SERVING from the first moment of a drain.
//! Never checks anything itself; the service sets what it knows.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::server::infrastructure::HEALTH_MESSAGE_BYTES_MAX;

/// The descriptor set of `grpc.health.v1`, for reflection.
pub use tonic_health::pb::FILE_DESCRIPTOR_SET;

/// Longest service name looked up, in bytes: a caller may send anything.
const NAME_BYTES_MAX: usize = 256;

/// Where a service says whether it serves. The name `""` is the process as a whole and what `/readyz` answers.
#[derive(Clone, Debug)]
pub struct Reporter {
    state: Arc<watch::Sender<State>>,
    closed: CancellationToken,
}

#[derive(Clone, Debug, Default)]
struct State {
    serving: BTreeMap<String, bool>,
    draining: bool,
}

impl State {
    fn of(&self, service: &str) -> ServingStatus {
        match self.serving.get(service) {
            None => ServingStatus::ServiceUnknown,
            Some(true) if !self.draining => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        }
    }
}

impl Reporter {
    /// A reporter that knows `""` and `services`, all NOT_SERVING until they are set.
    #[must_use]
    pub fn new(services: &[&str]) -> Self {
        let names = services.iter().copied().chain([""]);
        let serving = names.map(|name| (name.to_owned(), false)).collect();
        let (state, _) = watch::channel(State { serving, draining: false });
        Self { state: Arc::new(state), closed: CancellationToken::new() }
    }

    /// Says whether `service` serves; watchers hear of a change.
    pub fn set(&self, service: &str, serving: bool) {
        self.state.send_if_modified(|state| state.serving.insert(service.to_owned(), serving) != Some(serving));
    }

    /// Says that the process and all services known so far serve.
    pub fn set_all_serving(&self) {
        self.state.send_modify(|state| state.serving.values_mut().for_each(|serving| *serving = true));
    }

    /// NOT_SERVING for everything, for good: a later `set` changes nothing a caller sees.
    pub fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// Ends the streams of `Watch`, which else stay open as long as their callers like.
    pub fn close(&self) {
        self.drain();
        self.closed.cancel();
    }

    /// Waits until the process and all services known to it serve, at most `time`. The result is whether they do.
    pub async fn wait_all_serving(&self, time: Duration) -> bool {
        let mut state = self.state.subscribe();
        let all_serve = state.wait_for(|state| !state.draining && state.serving.values().all(|serving| *serving));
        matches!(tokio::time::timeout(time, all_serve).await, Ok(Ok(_)))
    }

    /// Whether the process as a whole serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.borrow().of("") == ServingStatus::Serving
    }

    /// The gRPC service to add to the routes. [`Server::health`](crate::Server::health) does it.
    #[must_use]
    pub fn service(&self) -> HealthServer<Service> {
        HealthServer::new(Service(self.clone())).max_decoding_message_size(HEALTH_MESSAGE_BYTES_MAX)
    }
}

/// The implementation of `grpc.health.v1.Health` over a [`Reporter`].
#[derive(Debug)]
pub struct Service(Reporter);

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        match self.0.state.borrow().of(&service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("service not registered")),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        if service.len() > NAME_BYTES_MAX {
            return Err(Status::invalid_argument("service name too long"));
        }
        let mut last = None;
        let changes = WatchStream::new(self.0.state.subscribe()).filter_map(move |state| {
            let status = state.of(&service);
            let changed = last.replace(status) != Some(status);
            std::future::ready(changed.then(|| Ok(answer(status))))
        });
        let end = futures::stream::once(std::future::ready(Err(Status::unavailable("server is draining"))));
        let open = changes.take_until(self.0.closed.clone().cancelled_owned());
        Ok(Response::new(Box::pin(open.chain(end))))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
