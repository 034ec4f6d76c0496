//! Assignments: a claimed run on its way to the session that it was claimed for.

use crate::commands::runs::ReturnRun;
use crate::sessions::Stream;
use runmesh_command::{AfterCommit, Publisher};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Fault, Result, limits};
use runmesh_host::signed::Signer;
use runmesh_store::runs::Claimed;
use runmesh_store::{Db, Scope};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::pb::worker as pb;
use std::time::Duration;

/// How long a worker may take to make room for an assignment that it has credit for.
const ASSIGN_LIMIT: Duration = Duration::from_secs(1);

/// Publishes claims and sends their assignments. Clones share everything.
#[derive(Clone)]
pub struct Assigner {
    pub db: Db,
    pub publisher: Publisher,
    /// Signs the tokens that name a run and an attempt.
    pub run_tokens: Signer,
}

impl Assigner {
    /// Publishes a claim that was committed, and sends the assignment, or gives the run back at once when there is nobody to send
    /// it to. One that is sent and never arrives is taken back when the session's heartbeats do not name it.
    pub async fn assign(&self, stream: &Stream, mut claimed: Claimed) {
        self.publisher.publish(AfterCommit::of(std::mem::take(&mut claimed.committed)));
        let lease = lease_of(stream, &claimed);
        let (run, session) = (lease.run, stream.session);
        let is_sent = match self.assignment(lease, claimed) {
            Ok(assignment) => {
                let message = pb::claim_response::Message::Assignment(assignment);
                let answer = pb::ClaimResponse { message: Some(message) };
                stream.answers.send_timeout(Ok(answer), ASSIGN_LIMIT).await.is_ok()
            }
            Err(error) => {
                tracing::error!(%run, %error, "an assignment could not be made");
                false
            }
        };
        if is_sent {
            return;
        }
        tracing::debug!(%session, %run, "a session went away, or does not read, before its assignment");
        match self.db.run(Scope::System, ReturnRun { lease }).await {
            Ok(after) => self.publisher.publish(after),
            Err(error) => {
                tracing::debug!(%run, %error, "not given back, the reaper takes it from a session that does not name it")
            }
        }
    }

    fn assignment(&self, lease: LeaseClaim, claimed: Claimed) -> Result<pb::Assignment> {
        let Claimed { row, spec, context, committed: _ } = claimed;
        let run = &row.run;
        let token = self.run_tokens.sign(&lease, limits::RUN_TOKEN_TTL).map_err(|error| Fault::internal(error.to_string()))?;
        let traceparent = spec.traceparent.clone();
        let context = context.map(|context| wire_context(context).into_wire());
        Ok(pb::Assignment {
            lease: Some(HeldRun { run: run.id, fence: run.fence }.into_wire()),
            run_token: token,
            thread_id: run.thread.to_string(),
            org_id: run.org.to_string(),
            turn_number: runmesh_wire::convert::signed(run.turn_number),
            spec: Some(spec.into_wire()),
            position: Some(row.position.into_wire()),
            cancel_requested: run.is_cancel_requested(),
            traceparent,
            context,
        })
    }
}

const fn lease_of(stream: &Stream, claimed: &Claimed) -> LeaseClaim {
    let run = &claimed.row.run;
    LeaseClaim { org: run.org, thread: run.thread, run: run.id, fence: run.fence, session: stream.session }
}

/// The store's context as the wire's.
pub fn wire_context(context: runmesh_store::steps::Context) -> Context {
    let runmesh_store::steps::Context { messages, steps, next_page_token } = context;
    Context { messages, steps, next_page_token: next_page_token.unwrap_or_default() }
}
