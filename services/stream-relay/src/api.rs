//! StreamService.

use crate::relay::Relay;
use crate::thread::ThreadViewer;
use crate::viewer::Viewer;
use crate::{append, attach, caller, limits};
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use runmesh_domain::{Error, Result};
use runmesh_host::server::EndsAt;
use runmesh_wire::pb::relay::stream_service_server::StreamService;
use runmesh_wire::pb::{relay, stream as pb};
use runmesh_wire::status;
use tokio::sync::mpsc;
use tokio::time::Instant;
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

    async fn run(&self, request: Request<pb::AttachRunRequest>) -> Result<(attach::Seated<Viewer>, Instant)> {
        let who = caller::person(&request)?;
        Ok((attach::run(&self.relay, who, request.into_inner()).await?, who.until))
    }

    async fn thread(&self, request: Request<pb::AttachThreadRequest>) -> Result<(attach::Seated<ThreadViewer>, Instant)> {
        let who = caller::person(&request)?;
        Ok((attach::thread(&self.relay, who, request.into_inner()).await?, who.until))
    }
}

/// The answer of a stream that ends at `until`, whether it is read or not.
fn answer<T>(frames: BoxStream<'static, T>, until: Instant) -> Response<BoxStream<'static, T>> {
    let mut answer = Response::new(frames);
    answer.extensions_mut().insert(EndsAt(until));
    answer
}

fn refuse(error: &Error) -> Status {
    if let Error::Fault(fault) = error {
        runmesh_host::outage::log_failed_call(fault, fault.is_outage());
    }
    status::of(error)
}

#[tonic::async_trait]
impl StreamService for Api {
    type AttachRunStream = BoxStream<'static, Result<relay::AttachRunResponse, Status>>;

    async fn attach_run(&self, request: Request<pb::AttachRunRequest>) -> Result<Response<Self::AttachRunStream>, Status> {
        let (seated, until) = self.run(request).await.map_err(|error| refuse(&error))?;
        let frames = unfold(seated, |mut seated| async move { seated.viewer.next().await.map(|frame| (frame, seated)) });
        Ok(answer(frames.boxed(), until))
    }

    type AttachThreadStream = BoxStream<'static, Result<relay::AttachThreadResponse, Status>>;

    async fn attach_thread(
        &self,
        request: Request<pb::AttachThreadRequest>,
    ) -> Result<Response<Self::AttachThreadStream>, Status> {
        let (seated, until) = self.thread(request).await.map_err(|error| refuse(&error))?;
        let frames = unfold(seated, |mut seated| async move { seated.viewer.next().await.map(|frame| (frame, seated)) });
        Ok(answer(frames.boxed(), until))
    }

    type AppendStream = ReceiverStream<Result<pb::AppendResponse, Status>>;

    async fn append(&self, request: Request<Streaming<relay::AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        let claim = caller::lease(&request).map_err(|error| refuse(&error))?;
        let (answers, stream) = mpsc::channel(limits::APPEND_ANSWERS);
        let appending = append::run(self.relay.clone(), claim, request.into_inner(), answers);
        // The tracker owns it: a drain waits for what is in flight.
        drop(self.relay.tasks.spawn(tracing::Instrument::in_current_span(appending)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
