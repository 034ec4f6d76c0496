//! StreamService of the fake mesh: a log of one attempt.

use super::State;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_request::Message as Incoming;
use runmesh_wire::pb::stream::append_response::Message as Outgoing;
use runmesh_wire::pb::stream::stream_service_server::StreamService;
use runmesh_wire::pb::worker::LogPosition;
use runmesh_wire::status;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How often a relay whose log is slow repeats its last ack.
pub const SIGN: Duration = Duration::from_millis(100);

pub struct Service(pub Arc<Mutex<State>>);

fn position(state: &State) -> Option<LogPosition> {
    let seq = i64::try_from(state.log.len()).unwrap();
    Some(LogPosition { seq, chain: state.log.len() as u64 })
}

fn ack(state: &State) -> pb::AppendResponse {
    let number = i64::try_from(state.log.len()).unwrap();
    pb::AppendResponse { message: Some(Outgoing::Ack(pb::AppendAck { number, position: position(state) })) }
}

fn started(state: &State) -> pb::AppendResponse {
    let number = i64::try_from(state.log.len()).unwrap();
    let open_calls = state.open_calls.iter().map(|(step_index, call_index)| pb::OpenCall {
        step_index: *step_index,
        call_index: *call_index,
        path: String::new(),
    });
    let started = pb::AppendStarted {
        number,
        position: position(state),
        open_step_indexes: state.open_steps.clone(),
        open_branch_steps: Vec::new(),
        open_calls: open_calls.collect(),
    };
    pb::AppendResponse { message: Some(Outgoing::Started(started)) }
}

/// Takes a message into the log; false when the stream is to break now.
fn take(state: &mut State, message: pb::AppendEvents) -> bool {
    if state.break_after == Some(0) {
        state.break_after = None;
        return false;
    }
    let first = usize::try_from(message.first_number).unwrap();
    assert!(first <= state.log.len() + 1, "numbers {} to {first} are missing", state.log.len() + 1);
    assert!(!message.events.is_empty());
    let known = state.log.len() + 1 - first;
    for event in message.events.into_iter().skip(known) {
        if let Some(left) = &mut state.break_after {
            if *left == 0 {
                state.break_after = None;
                return false;
            }
            *left -= 1;
        }
        state.add(event);
    }
    true
}

#[tonic::async_trait]
impl StreamService for Service {
    type AttachRunStream = ReceiverStream<Result<pb::AttachRunResponse, Status>>;
    type AttachThreadStream = ReceiverStream<Result<pb::AttachThreadResponse, Status>>;
    type AppendStream = ReceiverStream<Result<pb::AppendResponse, Status>>;

    async fn attach_run(&self, _: Request<pb::AttachRunRequest>) -> Result<Response<Self::AttachRunStream>, Status> {
        Err(Status::unimplemented("not a worker's call"))
    }

    async fn attach_thread(&self, _: Request<pb::AttachThreadRequest>) -> Result<Response<Self::AttachThreadStream>, Status> {
        Err(Status::unimplemented("not a worker's call"))
    }

    async fn append(&self, request: Request<Streaming<pb::AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer run-token");
        let mut inbox = request.into_inner();
        let Some(Incoming::Open(open)) = inbox.message().await?.unwrap().message else { panic!("open comes first") };
        let (answers, stream) = mpsc::channel(4);
        let (first, still_after) = {
            let mut state = self.0.lock().unwrap();
            if state.log_away {
                return Err(status::unavailable("the log is away"));
            }
            state.append_streams += 1;
            state.opened_after.push(open.acked.unwrap().seq);
            (started(&state), state.still_after.take())
        };
        answers.send(Ok(first)).await.unwrap();
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbox.message().await {
                let Some(Incoming::Events(events)) = message.message else { panic!("open came twice") };
                let mut signs = tokio::time::interval(SIGN);
                while state.lock().unwrap().slow_log {
                    signs.tick().await;
                    let sign = ack(&state.lock().unwrap());
                    if answers.send(Ok(sign)).await.is_err() {
                        return;
                    }
                    state.lock().unwrap().signs += 1;
                }
                if still_after.is_some_and(|count| state.lock().unwrap().log.len() >= count) {
                    continue;
                }
                let taken = take(&mut state.lock().unwrap(), events);
                let answer = if taken { Ok(ack(&state.lock().unwrap())) } else { Err(status::unavailable("broke")) };
                if answers.send(answer).await.is_err() || !taken {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
