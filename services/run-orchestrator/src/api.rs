//! The rpcs. A method decodes its request into a command, has it run, and encodes its answer.

mod agent;
mod org;
mod run;
mod thread;
mod worker;

pub use agent::AgentApi;
pub use org::OrgApi;
pub use run::RunApi;
pub use thread::ThreadApi;
pub use worker::WorkerApi;

use runmesh_domain::{Error, Result};
use runmesh_store::PageRequest;
use runmesh_wire::received::Keeping;
use runmesh_wire::{pb, status};
use tonic::service::Routes;
use tonic::{Response, Status};

/// The largest message of any method, both ways.
const MESSAGE_BYTES_MAX: usize = runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;

/// The services' names, for health.
pub const SERVICES: &[&str] = &[
    "runmesh.org.v1.OrgService",
    "runmesh.agent.v1.AgentService",
    "runmesh.thread.v1.ThreadService",
    "runmesh.run.v1.RunService",
    "runmesh.worker.v1.WorkerService",
];

/// Everything that is served.
pub struct Apis {
    pub org: OrgApi,
    pub agent: AgentApi,
    pub thread: ThreadApi,
    pub run: RunApi,
    pub worker: WorkerApi,
}

/// The routes of all of them.
pub fn routes(apis: Apis) -> Routes {
    let max = MESSAGE_BYTES_MAX;
    let Apis { org, agent, thread, run, worker } = apis;
    let org = pb::org::org_service_server::OrgServiceServer::new(org);
    let agent = pb::agent::agent_service_server::AgentServiceServer::new(agent);
    let thread = pb::thread::thread_service_server::ThreadServiceServer::new(thread);
    let run = pb::run::run_service_server::RunServiceServer::new(run);
    let worker = pb::worker::worker_service_server::WorkerServiceServer::new(worker);
    // What tells an exact repeat from another call is the bytes that came.
    Routes::new(Keeping(org.max_decoding_message_size(max)))
        .add_service(Keeping(agent.max_decoding_message_size(max)))
        .add_service(Keeping(thread.max_decoding_message_size(max)))
        .add_service(Keeping(run.max_decoding_message_size(max)))
        // A page of a context holds at least a model step and one result of it; each has its own bound.
        .add_service(Keeping(worker.max_decoding_message_size(4 * max).max_encoding_message_size(4 * max)))
}

/// A command's result as a method's answer. Faults are logged here, where they leave the process.
fn answer<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| {
        if let Error::Fault(fault) = &error {
            runmesh_host::outage::log_failed_call(fault, fault.is_outage());
        }
        status::of(&error)
    })
}

/// The page that is asked for; a size below zero is refused, one over the bound is coerced by the store.
fn page(size: i32, page_token: String) -> Result<PageRequest> {
    Ok(PageRequest { page_size: runmesh_wire::convert::unsigned("page_size", size)?, page_token })
}
