//! The calls that a lease holder makes: each with a deadline, repeated until the mesh answers or the lease is gone.
//!
//! Repeating is safe: an exact repeat of a committed write is answered as the first was.

use crate::backoff::Delays;
use crate::control::Control;
use crate::mesh::{Caller, Credentials, MESSAGE_BYTES_MAX};
use runmesh_domain::Reason;
use runmesh_domain::log::Position;
use runmesh_wire::channel::MeshChannel;
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::convert::required;
use runmesh_wire::pb::worker as pb;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use runmesh_wire::{FromWire as _, IntoWire as _, status};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status};

/// The longest one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call is repeated before the run is dropped; its lease then comes back by itself.
const REPEAT_FOR: Duration = Duration::from_secs(120);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

type Client = WorkerServiceClient<Caller>;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    /// The lease is gone, or must be taken for gone: write nothing more.
    Lost,
    /// The mesh will never take this, in its words.
    Refused(String),
    /// The mesh sent what this worker cannot read: another worker may be of a newer version.
    Unreadable(String),
    /// The journal of the run is full.
    Full(String),
}

/// What a refusal means for the attempt.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Repeat,
    Lost,
    Refused,
    Full,
}

/// The right to drive a run, as calls carry it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) held: HeldRun,
    pub(super) channel: MeshChannel,
    pub(super) credentials: Credentials,
    pub(super) control: Arc<Control>,
    pub(super) traceparent: String,
}

impl Lease {
    /// A page of the run's context, with about this many bytes of messages.
    pub(super) async fn context(&self, page_token: String, wanted_bytes: i64) -> Result<Context, Halt> {
        let message = pb::GetRunContextRequest { lease: self.lease(), page_token, wanted_bytes };
        let call = |mut client: Client, request| async move { client.get_run_context(request).await };
        let answer = self.repeat("GetRunContext", message, call).await?;
        let read = required("context", answer.context).and_then(|context| context.from_wire("context"));
        read.map_err(|refusal| Halt::Unreadable(refusal.to_string()))
    }

    /// Journals `entries` in one transaction; the verdicts of the model steps among them. An acknowledged cancel that the
    /// answer tells of is set on the control.
    pub(super) async fn record(&self, entries: Vec<pb::journal_entry::Entry>, acked: Position) -> Result<Vec<pb::Verdict>, Halt> {
        let entries = entries.into_iter().map(|entry| pb::JournalEntry { entry: Some(entry) }).collect();
        let message = pb::RecordStepRequest { lease: self.lease(), entries, acked: Some(acked.into_wire()) };
        let call = |mut client: Client, request| async move { client.record_step(request).await };
        let pb::RecordStepResponse { verdicts, cancel_requested } = self.repeat("RecordStep", message, call).await?;
        if cancel_requested {
            self.control.cancel.cancel();
        }
        Ok(verdicts)
    }

    /// Ends the run.
    pub(super) async fn finish(&self, message: pb::FinishRequest) -> Result<(), Halt> {
        let message = pb::FinishRequest { lease: self.lease(), ..message };
        let call = |mut client: Client, request| async move { client.finish(request).await };
        self.repeat("Finish", message, call).await.map(|_| ())
    }

    /// Gives the run back. Without a position the log's place stays as it was.
    pub(super) async fn release(&self, acked: Option<Position>) -> Result<(), Halt> {
        let message = pb::ReleaseRequest { lease: self.lease(), acked: acked.map(|acked| acked.into_wire()) };
        let call = |mut client: Client, request| async move { client.release(request).await };
        self.repeat("Release", message, call).await.map(|_| ())
    }

    fn lease(&self) -> Option<pb::Lease> {
        Some(self.held.into_wire())
    }

    async fn repeat<M, R, F, Fut>(&self, method: &'static str, message: M, call: F) -> Result<R, Halt>
    where
        M: Clone,
        F: Fn(Client, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let client = Client::new(Caller(self.channel.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut delays = Delays::new(RETRY_FIRST, RETRY_MOST);
        let began = Instant::now();
        loop {
            let mut request = self.credentials.request(&self.control.token, &self.traceparent, message.clone());
            request.set_timeout(TRY_TIMEOUT);
            let answer = tokio::select! {
                biased;
                () = self.control.lost.cancelled() => return Err(Halt::Lost),
                answer = tokio::time::timeout(TRY_TIMEOUT, call(client.clone(), request)) => answer,
            };
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => status::plain(Reason::DeadlineExceeded, "no answer in time"),
            };
            match class(&status) {
                Class::Refused => return Err(refused(method, &status)),
                Class::Full => return Err(Halt::Full(status.message().to_owned())),
                Class::Lost => return Err(lost(method, &status)),
                Class::Repeat if began.elapsed() > REPEAT_FOR => return Err(lost(method, &status)),
                Class::Repeat => tracing::debug!(method, %status, "repeating"),
            }
            tokio::select! {
                biased;
                () = self.control.lost.cancelled() => return Err(Halt::Lost),
                () = tokio::time::sleep(delays.next()) => {}
            }
        }
    }
}

fn lost(method: &'static str, status: &Status) -> Halt {
    tracing::info!(method, %status, "the lease is gone");
    Halt::Lost
}

fn refused(method: &'static str, status: &Status) -> Halt {
    tracing::warn!(method, %status, "refused");
    Halt::Refused(status.message().to_owned())
}

fn class(status: &Status) -> Class {
    match status::reason(status).unwrap_or_else(|| status::reason_of_code(status.code())) {
        Reason::InvalidField | Reason::MalformedMessage | Reason::MessageTooLarge | Reason::CallNotAllowed => Class::Refused,
        Reason::JournalLimit => Class::Full,
        // A journal that differs from what this attempt knows is another attempt's: the next one reads it anew.
        Reason::Fenced
        | Reason::RunFinished
        | Reason::StepConflict
        | Reason::Conflict
        | Reason::SessionLost
        | Reason::TokenMismatch
        | Reason::Unauthenticated
        // The next attempt gets a new token.
        | Reason::TokenExpired
        | Reason::PermissionDenied
        | Reason::NotFound
        | Reason::UnknownMethod => Class::Lost,
        _ => Class::Repeat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Refusal;

    #[test]
    fn outages_repeat_and_fences_do_not() {
        assert_eq!(class(&Status::unavailable("x")), Class::Repeat);
        assert_eq!(class(&Status::unknown("transport")), Class::Repeat);
        assert_eq!(class(&status::of_refusal(&Refusal::TokenExpired)), Class::Lost);
        assert_eq!(class(&status::of_refusal(&Refusal::Fenced)), Class::Lost);
        assert_eq!(class(&status::of_refusal(&Refusal::RunFinished)), Class::Lost);
        assert_eq!(class(&status::of_refusal(&Refusal::field("a", "b"))), Class::Refused);
        assert_eq!(
            class(&status::of_refusal(&Refusal::CallNotAllowed { call: runmesh_domain::path::StepKey::top(1).call(0) })),
            Class::Refused
        );
    }
}
