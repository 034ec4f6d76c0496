//! SummaryService.

use runmesh_command::Command;
use runmesh_domain::id::OrgId;
use runmesh_domain::limits::{Leases, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use runmesh_domain::{Error, Result};
use runmesh_host::signed::Verified;
use runmesh_store::summary::{self, ActiveRun, Summary};
use runmesh_store::{Db, Tx};
use runmesh_wire::caller;
use runmesh_wire::convert::unsigned;
use runmesh_wire::pb::summary as pb;
use runmesh_wire::{IntoWire as _, status};
use tonic::{Request, Response, Status};

/// Serves SummaryService.
pub struct Api {
    db: Db,
    leases: Leases,
}

impl Api {
    /// Over a database; `leases` says how long a session without a heartbeat counts as alive.
    pub const fn new(db: Db, leases: Leases) -> Self {
        Self { db, leases }
    }

    async fn get(&self, request: Request<pb::GetSummaryRequest>) -> Result<pb::GetSummaryResponse> {
        let caller = caller::user(Verified::of(request.extensions()))?;
        let pb::GetSummaryRequest { page_size } = request.into_inner();
        let asked: u32 = unsigned("page_size", page_size)?;
        let limit = if asked == 0 { PAGE_SIZE_DEFAULT } else { asked.min(PAGE_SIZE_MAX) };
        let command = Summarize { org: caller.org, leases: self.leases, limit };
        let numbers = runmesh_command::read(&self.db, caller, command).await?;
        Ok(encode(numbers))
    }
}

/// Reads an org's numbers and its active runs.
struct Summarize {
    org: OrgId,
    leases: Leases,
    limit: u32,
}

impl Command for Summarize {
    type Answer = Summary;

    async fn run(&self, tx: &mut Tx) -> Result<Summary> {
        summary::summary(tx, self.org, &self.leases, self.limit).await
    }
}

fn count(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn encode(numbers: Summary) -> pb::GetSummaryResponse {
    let Summary { agents, running, waiting, queued, runs, at } = numbers;
    pb::GetSummaryResponse {
        agent_count: count(agents),
        running_count: count(running),
        waiting_count: count(waiting),
        queued_count: count(queued),
        runs: runs.into_iter().map(encode_run).collect(),
        time: Some(at.into_wire()),
    }
}

fn encode_run(run: ActiveRun) -> pb::ActiveRun {
    let ActiveRun { run, thread, thread_title, agent, agent_name, user, state, since } = run;
    pb::ActiveRun {
        run_id: run.to_string(),
        thread_id: thread.to_string(),
        thread_title,
        agent_id: agent.to_string(),
        agent_name,
        user_id: user.to_string(),
        state: state.into_wire().into(),
        since: Some(since.into_wire()),
    }
}

#[tonic::async_trait]
impl pb::summary_service_server::SummaryService for Api {
    async fn get_summary(&self, request: Request<pb::GetSummaryRequest>) -> Result<Response<pb::GetSummaryResponse>, Status> {
        self.get(request).await.map(Response::new).map_err(|error| {
            if let Error::Fault(fault) = &error {
                runmesh_host::outage::log_failed_call(fault, fault.is_outage());
            }
            status::of(&error)
        })
    }
}
