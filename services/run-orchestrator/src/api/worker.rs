//! WorkerService.

mod digests;

use super::{answer, page};
use crate::assign::wire_context;
use crate::claim::{Answers, ClaimStreams};
use crate::commands::runs::{FinishRun, GetContext, KeepLate, RecordEntries, ReleaseRun};
use crate::commands::sessions::{ListSessions, Nothing};
use crate::{encode, principal};
use runmesh_command::Commands;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::SessionId;
use runmesh_domain::journal::ModelStep;
use runmesh_domain::limits::{Leases, Queues};
use runmesh_domain::log::Position;
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::run::Outcome;
use runmesh_domain::{Error, Refusal, Result, limits, text};
use runmesh_host::Lifecycle;
use runmesh_store::runs::{Ending, LastStep};
use runmesh_store::steps::Entry;
use runmesh_store::{Db, Scope, sessions};
use runmesh_wire::convert::journal::{HeldRun, verdict};
use runmesh_wire::convert::{id, list as list_of, required, step_key, unsigned};
use runmesh_wire::pb::worker as pb;
use runmesh_wire::{FromWire as _, IntoWire as _};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Serves WorkerService.
pub struct WorkerApi {
    pub commands: Commands,
    /// For heartbeats, and for what is read over all orgs.
    pub db: Db,
    pub claims: ClaimStreams,
    pub leases: Leases,
    pub queues: Queues,
    /// Heartbeats say that it drains.
    pub life: Lifecycle,
}

#[tonic::async_trait]
impl pb::worker_service_server::WorkerService for WorkerApi {
    type ClaimStream = Answers;

    async fn claim(&self, request: Request<Streaming<pb::ClaimRequest>>) -> Result<Response<Answers>, Status> {
        answer(self.claims.serve(request))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Result<Response<pb::HeartbeatResponse>, Status> {
        answer(self.beat(request).await)
    }

    async fn get_run_context(
        &self,
        request: Request<pb::GetRunContextRequest>,
    ) -> Result<Response<pb::GetRunContextResponse>, Status> {
        answer(self.context(request).await)
    }

    async fn record_step(&self, request: Request<pb::RecordStepRequest>) -> Result<Response<pb::RecordStepResponse>, Status> {
        answer(self.record(request).await)
    }

    async fn finish(&self, request: Request<pb::FinishRequest>) -> Result<Response<pb::FinishResponse>, Status> {
        answer(self.end(request).await)
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Result<Response<pb::ReleaseResponse>, Status> {
        answer(self.give_back(request).await)
    }

    async fn list_workers(&self, request: Request<pb::ListWorkersRequest>) -> Result<Response<pb::ListWorkersResponse>, Status> {
        answer(self.list(request).await)
    }
}

fn position(acked: Option<pb::LogPosition>) -> Result<Option<Position>> {
    Ok(acked.map(|position| position.from_wire("acked")).transpose()?)
}

fn model_step(at: &str, entry: pb::ModelStepEntry) -> Result<(StepKey, ModelStep)> {
    let pb::ModelStepEntry { step_index, result, path } = entry;
    let step = step_key(at, step_index, &path)?;
    let result: ModelStep = required(&format!("{at}.result"), result)?.from_wire(&format!("{at}.result"))?;
    if result.calls().count() > limits::CALLS_PER_STEP_MAX {
        return Err(Refusal::field(format!("{at}.result.parts"), format!("at most {} calls", limits::CALLS_PER_STEP_MAX)).into());
    }
    text::without_nul(&format!("{at}.result.model"), &result.model)?;
    text::without_nul(&format!("{at}.result.finish_reason"), &result.finish_reason)?;
    for part in &result.parts {
        check_part(at, part)?;
    }
    Ok((step, result))
}

fn check_part(path: &str, part: &runmesh_domain::message::Part) -> Result<()> {
    use runmesh_domain::message::Part;
    match part {
        Part::Text { text } | Part::Reasoning { text, .. } => text::without_nul(path, text)?,
        Part::ToolCall { call_id, name, arguments, .. } => {
            text::without_nul(path, call_id)?;
            text::without_nul(path, name)?;
            text::without_nul(path, arguments)?;
        }
        Part::ToolResult { .. } => return Err(Refusal::field(path, "a model step holds no tool results").into()),
    }
    if let Some(data) = part.provider_data() {
        data.check(&format!("{path}.provider_data"))?;
    }
    Ok(())
}

fn entry(at: &str, entry: pb::JournalEntry, digest: Sha256Digest) -> Result<Entry> {
    use pb::journal_entry::Entry as Wire;
    let pb::JournalEntry { entry } = entry;
    let key = |at: &str, step_index: i32, path: &str, call_index: i32| -> Result<CallKey> {
        Ok(step_key(at, step_index, path)?.call(unsigned(&format!("{at}.call_index"), call_index)?))
    };
    match required(at, entry)? {
        Wire::ModelStep(step) => {
            let (step, result) = model_step(&format!("{at}.model_step"), step)?;
            Ok(Entry::ModelStep { step, result, digest })
        }
        Wire::CallDispatched(pb::CallDispatched { step_index, call_index, path }) => {
            Ok(Entry::CallDispatched { call: key(&format!("{at}.call_dispatched"), step_index, &path, call_index)? })
        }
        Wire::CallDone(pb::CallDone { step_index, call_index, content, is_error, path }) => {
            text::at_most_bytes(&format!("{at}.call_done.content"), &content, limits::TOOL_RESULT_BYTES_MAX)?;
            let call = key(&format!("{at}.call_done"), step_index, &path, call_index)?;
            Ok(Entry::CallDone { call, content, is_error })
        }
    }
}

fn outcome(request: &pb::FinishRequest) -> Result<Outcome> {
    match request.outcome() {
        pb::finish_request::Outcome::Unspecified => Err(Refusal::field("outcome", "is required").into()),
        pb::finish_request::Outcome::Completed => Ok(Outcome::Completed),
        pb::finish_request::Outcome::Canceled => Ok(Outcome::Canceled),
        pb::finish_request::Outcome::Failed => {
            let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            let reason = &request.reason;
            if reason.is_empty() || reason.len() > limits::NAME_BYTES_MAX || !reason.bytes().all(fits) {
                return Err(Refusal::field("reason", "want 1 to 64 of A-Z, 0-9 and _").into());
            }
            text::at_most_chars("detail", &request.detail, limits::DETAIL_CHARS_MAX)?;
            Ok(Outcome::Failed { reason: reason.clone(), detail: request.detail.clone() })
        }
    }
}

impl WorkerApi {
    async fn beat(&self, request: Request<pb::HeartbeatRequest>) -> Result<pb::HeartbeatResponse> {
        let credential = principal::worker(&request)?;
        let pb::HeartbeatRequest { session_id, stream_number, held } = request.into_inner();
        let session: SessionId = id("session_id", &session_id)?;
        let held: Vec<HeldRun> = list_of("held", held)?;
        if held.len() > limits::WORKER_CAPACITY_MAX as usize {
            return Err(Refusal::field("held", format!("at most {}", limits::WORKER_CAPACITY_MAX)).into());
        }
        let held = held.into_iter().map(|held| (held.run, held.fence)).collect();
        let beat = sessions::heartbeat(&self.db, session, &credential, stream_number, held, &self.leases).await?;
        let status = if beat.ok { pb::heartbeat_response::Status::Ok } else { pb::heartbeat_response::Status::Lost };
        Ok(pb::HeartbeatResponse {
            status: status.into(),
            lost_run_ids: beat.lost.iter().map(ToString::to_string).collect(),
            cancel_run_ids: beat.cancel.iter().map(ToString::to_string).collect(),
            drain: self.life.is_draining(),
            not_renewed: beat.ok && !beat.is_renewed,
        })
    }

    async fn context(&self, request: Request<pb::GetRunContextRequest>) -> Result<pb::GetRunContextResponse> {
        let claim = principal::lease(&request)?;
        let pb::GetRunContextRequest { lease, page_token, wanted_bytes } = request.into_inner();
        let wanted_bytes: u64 = unsigned("wanted_bytes", wanted_bytes)?;
        let lease = principal::same_lease(claim, lease)?;
        let context = self.db.run(Scope::System, GetContext { lease, page_token, wanted_bytes }).await?;
        Ok(pb::GetRunContextResponse { context: Some(wire_context(context).into_wire()) })
    }

    async fn record(&self, request: Request<pb::RecordStepRequest>) -> Result<pb::RecordStepResponse> {
        let claim = principal::lease(&request)?;
        let request = request.into_inner();
        let digests = digests::of_entries(&request);
        let pb::RecordStepRequest { lease, entries, acked } = request;
        let lease = principal::same_lease(claim, lease)?;
        if entries.is_empty() || entries.len() > limits::JOURNAL_ENTRIES_MAX {
            return Err(Refusal::field("entries", format!("want 1 to {}", limits::JOURNAL_ENTRIES_MAX)).into());
        }
        let entries = entries.into_iter().zip(digests).enumerate();
        let entries = entries.map(|(index, (wire, digest))| entry(&format!("entries[{index}]"), wire, digest));
        let entries = Arc::new(entries.collect::<Result<Vec<_>>>()?);
        let position = position(acked)?;
        let (commands, db) = (self.commands.clone(), self.db.clone());
        let recorded = self.commands.spawn_detached(async move {
            let record = RecordEntries { lease, entries: Arc::clone(&entries), position };
            let recorded = commands.perform_attached(lease.org, record).await;
            if matches!(recorded, Err(Error::Refused(Refusal::Fenced))) {
                keep_late(&db, KeepLate { lease, entries }).await;
            }
            recorded
        });
        let recorded = recorded.await?;
        let verdicts = recorded.verdicts.into_iter().map(|given| verdict(given.call, given.verdict, given.idempotency_key));
        Ok(pb::RecordStepResponse { verdicts: verdicts.collect(), cancel_requested: recorded.cancel_requested })
    }

    async fn end(&self, request: Request<pb::FinishRequest>) -> Result<pb::FinishResponse> {
        let claim = principal::lease(&request)?;
        let body = request.into_inner();
        let (digest, of_last) = digests::of_finish(&body);
        let outcome = outcome(&body)?;
        let pb::FinishRequest { lease, outcome: _, reason: _, detail: _, last_step, last_step_unfinished, acked } = body;
        let lease = principal::same_lease(claim, lease)?;
        let last = last_step.map(|entry| model_step("last_step", entry)).transpose()?;
        if last.as_ref().is_some_and(|(step, _)| !step.path.is_top()) {
            return Err(Refusal::field("last_step.path", "want it empty: a run ends at its top level").into());
        }
        let last_step = last.map(|(StepKey { path: _, step_index }, result)| LastStep {
            step_index,
            result,
            digest: of_last,
            unfinished: last_step_unfinished,
        });
        let ending = Ending { outcome, last_step, position: position(acked)?, digest };
        let row = self.commands.perform(lease.org, FinishRun { lease, ending }).await?;
        Ok(pb::FinishResponse { run: Some(encode::run(row)) })
    }

    async fn give_back(&self, request: Request<pb::ReleaseRequest>) -> Result<pb::ReleaseResponse> {
        let claim = principal::lease(&request)?;
        let pb::ReleaseRequest { lease, acked } = request.into_inner();
        let lease = principal::same_lease(claim, lease)?;
        let (position, queues) = (position(acked)?, self.queues);
        let row = self.commands.perform(lease.org, ReleaseRun { lease, position, queues }).await?;
        Ok(pb::ReleaseResponse { run: Some(encode::run(row)) })
    }

    async fn list(&self, request: Request<pb::ListWorkersRequest>) -> Result<pb::ListWorkersResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListWorkersRequest { page_size: size } = request.into_inner();
        let (limit, leases) = (page(size, String::new())?.page_size.max(1), self.leases);
        // Sessions serve many orgs, so they are read over all of them and counted for the caller's.
        self.commands.read(caller, Nothing).await?;
        let rows = self.db.run_read(Scope::System, ListSessions { org: caller.org, leases, limit }).await?;
        Ok(pb::ListWorkersResponse { workers: rows.into_iter().map(encode::worker).collect() })
    }
}

/// Results that the journal refused may still be evidence for a person who is asked about the call.
async fn keep_late(db: &Db, late: KeepLate) {
    let run = late.lease.run;
    if let Err(error) = db.run(Scope::System, late).await {
        tracing::warn!(%run, %error, "a late result was not kept");
    }
}
