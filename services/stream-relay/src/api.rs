//! StreamService.

use crate::relay::Relay;
use crate::viewer::{self, Viewer};
use crate::{append, caller, limits};
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use runmesh_domain::{Error, Result};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::stream_service_server::StreamService;
use runmesh_wire::status;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Serves StreamService.
#[derive(Debug, Clone)]
pub struct Api {
    relay: Relay,
}

impl Api {
    /// Over a relay.
    pub const fn new(relay: Relay) -> Self {
        Self { relay }
    }

    async fn attach(&self, request: Request<pb::AttachRunRequest>) -> Result<Viewer> {
        let (org, user) = caller::user(&request)?;
        viewer::attach(self.relay.clone(), org, user, request.into_inner()).await
    }
}

fn refuse(error: &Error) -> Status {
    if let Error::Fault(fault) = error {
        tracing::error!(%fault, "a call failed");
    }
    status::of(error)
}

#[tonic::async_trait]
impl StreamService for Api {
    type AttachRunStream = BoxStream<'static, Result<pb::AttachRunResponse, Status>>;

    async fn attach_run(&self, request: Request<pb::AttachRunRequest>) -> Result<Response<Self::AttachRunStream>, Status> {
        let viewer = self.attach(request).await.map_err(|error| refuse(&error))?;
        let frames = unfold(viewer, |mut viewer| async move { viewer.next().await.map(|frame| (frame, viewer)) });
        Ok(Response::new(frames.boxed()))
    }

    type AppendStream = ReceiverStream<Result<pb::AppendResponse, Status>>;

    async fn append(&self, request: Request<Streaming<pb::AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        let claim = caller::lease(&request).map_err(|error| refuse(&error))?;
        let (answers, stream) = mpsc::channel(limits::APPEND_ANSWERS);
        let appending = append::run(self.relay.clone(), claim, request.into_inner(), answers);
        // The tracker owns it: a drain waits for what is in flight.
        drop(self.relay.tasks.spawn(tracing::Instrument::in_current_span(appending)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
