//! WorkerService of the fake mesh.

use super::State;
use runmesh_domain::Refusal;
use runmesh_domain::journal::ModelStep;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::claim_request::Message as Incoming;
use runmesh_wire::pb::worker::claim_response::Message as Outgoing;
use runmesh_wire::pb::worker::worker_service_server::WorkerService;
use runmesh_wire::{FromWire as _, IntoWire as _, status};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub struct Service(pub Arc<Mutex<State>>);

type Answers = mpsc::Sender<Result<pb::ClaimResponse, Status>>;

impl Service {
    /// Serves one Claim stream: hands out an assignment for each credit.
    async fn claim_stream(state: Arc<Mutex<State>>, mut inbox: Streaming<pb::ClaimRequest>, answers: Answers) {
        loop {
            let timeout = tokio::time::timeout(Duration::from_millis(5), inbox.message()).await;
            match timeout {
                Ok(Ok(Some(message))) => Self::heard(&state, message),
                Ok(_) => return,
                Err(_) => {}
            }
            let drain = state.lock().unwrap().drain.take();
            if let Some((hellos, assignment)) = drain {
                return Self::leave(&state, inbox, answers, hellos, assignment).await;
            }
            let next = {
                let mut state = state.lock().unwrap();
                if state.credits > 0 && !state.assignments.is_empty() {
                    state.credits -= 1;
                    Some(state.assignments.remove(0))
                } else {
                    None
                }
            };
            if let Some(assignment) = next {
                let message = Some(Outgoing::Assignment(assignment));
                if answers.send(Ok(pb::ClaimResponse { message })).await.is_err() {
                    return;
                }
            }
        }
    }

    /// A claim for this stream is under way while it drains: its run is assigned here all the same.
    async fn leave(
        state: &Mutex<State>,
        mut inbox: Streaming<pb::ClaimRequest>,
        answers: Answers,
        hellos: usize,
        late: pb::Assignment,
    ) {
        let drain = Some(Outgoing::Drain(pb::Drain {}));
        answers.send(Ok(pb::ClaimResponse { message: drain })).await.unwrap();
        super::until(state, "the worker opens its next stream", |state| state.hellos.len() >= hellos).await;
        drop(answers.send(Ok(pb::ClaimResponse { message: Some(Outgoing::Assignment(late)) })).await);
        while let Ok(Some(_)) = inbox.message().await {}
    }

    fn heard(state: &Mutex<State>, message: pb::ClaimRequest) {
        let mut state = state.lock().unwrap();
        match message.message.unwrap() {
            Incoming::Hello(_) => panic!("hello came twice"),
            Incoming::Credits(credits) => state.credits += credits.add,
            Incoming::Ack(ack) => state.acks.push(ack.lease.unwrap()),
        }
    }

    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let text = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let mut state = self.0.lock().unwrap();
        state.metadata = (text("authorization"), text("traceparent"));
        if state.outages > 0 {
            state.outages -= 1;
            return Err(status::unavailable("out"));
        }
        if state.fenced {
            return Err(status::of_refusal(&Refusal::Fenced));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl WorkerService for Service {
    type ClaimStream = ReceiverStream<Result<pb::ClaimResponse, Status>>;

    async fn claim(&self, request: Request<Streaming<pb::ClaimRequest>>) -> Result<Response<Self::ClaimStream>, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer worker-token");
        let mut inbox = request.into_inner();
        let Some(Incoming::Hello(hello)) = inbox.message().await?.unwrap().message else { panic!("hello comes first") };
        let (answers, stream) = mpsc::channel(4);
        let welcome = {
            let mut state = self.0.lock().unwrap();
            state.credits = 0;
            let session_id =
                if hello.session_id.is_empty() { format!("ses_{}", state.hellos.len()) } else { hello.session_id.clone() };
            state.hellos.push(hello);
            pb::Welcome {
                session_id,
                lease_duration: Some(state.lease.into_wire()),
                heartbeat_period: Some(state.heartbeat.into_wire()),
                stream_number: i64::try_from(state.hellos.len()).unwrap(),
            }
        };
        answers.send(Ok(pb::ClaimResponse { message: Some(Outgoing::Welcome(welcome)) })).await.unwrap();
        tokio::spawn(Self::claim_stream(Arc::clone(&self.0), inbox, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.0.lock().unwrap();
        if state.mute {
            return Err(status::unavailable("mute"));
        }
        let number: usize = request.session_id.strip_prefix("ses_").unwrap().parse().unwrap();
        let lost = number < state.lost_sessions;
        let named = |run: &&String| request.held.iter().any(|lease| &&lease.run_id == run);
        let cancel_run_ids = state.cancel.iter().filter(named).cloned().collect();
        state.heartbeats.push(request.clone());
        let outcome = if lost { pb::heartbeat_response::Status::Lost } else { pb::heartbeat_response::Status::Ok };
        Ok(Response::new(pb::HeartbeatResponse { status: outcome.into(), cancel_run_ids, ..Default::default() }))
    }

    async fn get_run_context(
        &self,
        request: Request<pb::GetRunContextRequest>,
    ) -> Result<Response<pb::GetRunContextResponse>, Status> {
        self.check(&request)?;
        let context = self.0.lock().unwrap().pages.get(&request.into_inner().page_token).cloned();
        let context = context.ok_or_else(|| status::of_refusal(&Refusal::field("page_token", "is not a token of this list")))?;
        Ok(Response::new(pb::GetRunContextResponse { context: Some(context) }))
    }

    async fn record_step(&self, request: Request<pb::RecordStepRequest>) -> Result<Response<pb::RecordStepResponse>, Status> {
        self.check(&request)?;
        let pb::RecordStepRequest { lease, entries, acked: _ } = request.into_inner();
        let mut state = self.0.lock().unwrap();
        let entries: Vec<_> = entries.into_iter().map(|entry| entry.entry.unwrap()).collect();
        let run = lease.unwrap().run_id;
        if state.refuse_steps {
            return Err(status::of_refusal(&Refusal::field("entries[0]", "must not contain NUL")));
        }
        let mut verdicts = Vec::new();
        for entry in &entries {
            if let pb::journal_entry::Entry::ModelStep(step) = entry {
                verdicts = verdicts_of(&run, step, &state);
            }
        }
        state.recorded.push(entries);
        Ok(Response::new(pb::RecordStepResponse { verdicts, cancel_requested: state.cancel.contains(&run) }))
    }

    async fn finish(&self, request: Request<pb::FinishRequest>) -> Result<Response<pb::FinishResponse>, Status> {
        self.check(&request)?;
        let mut state = self.0.lock().unwrap();
        if state.refused_finishes > 0 {
            state.refused_finishes -= 1;
            return Err(status::of_refusal(&Refusal::field("detail", "must not contain NUL")));
        }
        state.finishes.push(request.into_inner());
        Ok(Response::new(pb::FinishResponse { run: None }))
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Result<Response<pb::ReleaseResponse>, Status> {
        self.check(&request)?;
        self.0.lock().unwrap().releases.push(request.into_inner());
        Ok(Response::new(pb::ReleaseResponse { run: None }))
    }

    async fn list_workers(&self, _: Request<pb::ListWorkersRequest>) -> Result<Response<pb::ListWorkersResponse>, Status> {
        Err(Status::unimplemented("not a worker's call"))
    }
}

fn verdicts_of(run: &str, entry: &pb::ModelStepEntry, state: &State) -> Vec<pb::Verdict> {
    let step: ModelStep = entry.result.clone().unwrap().from_wire("result").unwrap();
    let denied: HashMap<bool, i32> = HashMap::from([(true, 2), (false, 1)]);
    let verdict = |call: runmesh_domain::journal::AskedCall<'_>| pb::Verdict {
        call_index: i32::try_from(call.call_index).unwrap(),
        decision: denied[&state.denied.contains(call.name)],
        reason: "the policy denies it".to_owned(),
        idempotency_key: format!("{run}-{}-{}", entry.step_index, call.call_index),
        step_index: entry.step_index,
        path: entry.path.clone(),
    };
    step.calls().map(verdict).collect()
}
