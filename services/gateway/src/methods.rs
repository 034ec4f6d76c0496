//! Every public rpc: who may call it, how large a message may be, how long it may take, and where it goes. This table is all
//! that the gateway knows of the API; a test holds it against the descriptors.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;

/// Who may call a method, and so which credentials it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A person, with a token of the identity provider. Counts against the person's rate.
    User,
    /// A person, as [`Caller::User`], about no one org: which org is asked for plays no part.
    Person,
    /// A worker process, with its credential.
    Worker,
    /// The holder of a lease, with the run token of its assignment.
    Lease,
}

impl Caller {
    /// True when a person calls.
    #[must_use]
    pub const fn is_person(self) -> bool {
        matches!(self, Self::User | Self::Person)
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// [`SHORT_DEFAULT`] unless the caller says another time, at most [`SHORT_MAX`].
    Short,
    /// As long as the caller likes: it follows something.
    Follow,
}

/// The service behind a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upstream {
    /// Threads, runs, agents, orgs, workers.
    Orchestrator,
    /// Pending actions.
    Approval,
    /// The run log.
    Relay,
    /// Who is working on what.
    Summary,
}

/// The connections that a call goes over. Streams have their own: on a connection at its stream limit calls wait silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// One message in, read whole, so that it can be tried again elsewhere.
    Unary,
    /// What people follow.
    Viewers,
    /// Streams of workers: their uploads never share a connection with a viewer.
    Workers,
}

/// How many messages a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// Exactly one.
    One,
    /// Any number: the request is a stream.
    Many,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it.
    pub caller: Caller,
    /// How long it may take.
    pub class: Class,
    /// Where it goes.
    pub upstream: Upstream,
    /// Over which connections.
    pub pool: Pool,
    /// How many messages a request has.
    pub messages: Messages,
    /// Largest message of the request, bytes.
    pub message_bytes_max: usize,
}

impl Method {
    /// The full name of its service, `package.Service`.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }
}

/// Time of a short call whose caller says none.
pub const SHORT_DEFAULT: Duration = Duration::from_secs(10);
/// Time of a short call at most, whatever the caller says: what services behind allow too.
pub const SHORT_MAX: Duration = runmesh_wire::deadline::SHORT;

/// A short unary method.
const fn short(path: &'static str, caller: Caller, upstream: Upstream) -> Method {
    let (messages, message_bytes_max) = (Messages::One, STREAM_MESSAGE_BYTES_MAX);
    Method { path, caller, class: Class::Short, upstream, pool: Pool::Unary, messages, message_bytes_max }
}

/// A stream of answers to one message.
const fn follow(path: &'static str, caller: Caller, upstream: Upstream) -> Method {
    Method { class: Class::Follow, pool: Pool::Viewers, ..short(path, caller, upstream) }
}

/// Streams in both directions, of a worker.
const fn duplex(path: &'static str, caller: Caller, upstream: Upstream) -> Method {
    Method { messages: Messages::Many, pool: Pool::Workers, ..follow(path, caller, upstream) }
}

use Caller::{Lease, Person, User, Worker};
use Upstream::{Approval, Orchestrator, Relay, Summary};

/// The table.
pub const METHODS: &[Method] = &[
    short("/runmesh.agent.v1.AgentService/CreateAgent", User, Orchestrator),
    short("/runmesh.agent.v1.AgentService/DeleteAgent", User, Orchestrator),
    short("/runmesh.agent.v1.AgentService/GetAgent", User, Orchestrator),
    short("/runmesh.agent.v1.AgentService/ListAgents", User, Orchestrator),
    short("/runmesh.agent.v1.AgentService/UpdateAgent", User, Orchestrator),
    short("/runmesh.approval.v1.ApprovalService/ListPendingActions", User, Approval),
    short("/runmesh.org.v1.OrgService/CreateOrg", Person, Orchestrator),
    short("/runmesh.org.v1.OrgService/DeleteOrg", User, Orchestrator),
    short("/runmesh.org.v1.OrgService/GetOrg", User, Orchestrator),
    short("/runmesh.org.v1.OrgService/ListMembers", User, Orchestrator),
    short("/runmesh.org.v1.OrgService/ListOrgs", Person, Orchestrator),
    short("/runmesh.org.v1.OrgService/PutMember", User, Orchestrator),
    short("/runmesh.org.v1.OrgService/RemoveMember", User, Orchestrator),
    short("/runmesh.org.v1.OrgService/UpdateOrg", User, Orchestrator),
    short("/runmesh.run.v1.RunService/CancelRun", User, Orchestrator),
    short("/runmesh.run.v1.RunService/GetRun", User, Orchestrator),
    short("/runmesh.run.v1.RunService/GetRunHistory", User, Orchestrator),
    short("/runmesh.run.v1.RunService/ListQueue", User, Orchestrator),
    short("/runmesh.run.v1.RunService/ListRuns", User, Orchestrator),
    short("/runmesh.run.v1.RunService/SendMessage", User, Orchestrator),
    duplex("/runmesh.stream.v1.StreamService/Append", Lease, Relay),
    follow("/runmesh.stream.v1.StreamService/AttachRun", User, Relay),
    follow("/runmesh.stream.v1.StreamService/AttachThread", User, Relay),
    short("/runmesh.summary.v1.SummaryService/GetSummary", User, Summary),
    short("/runmesh.thread.v1.ThreadService/CreateThread", User, Orchestrator),
    short("/runmesh.thread.v1.ThreadService/DeleteThread", User, Orchestrator),
    short("/runmesh.thread.v1.ThreadService/GetThread", User, Orchestrator),
    short("/runmesh.thread.v1.ThreadService/ListMessages", User, Orchestrator),
    short("/runmesh.thread.v1.ThreadService/ListThreads", User, Orchestrator),
    short("/runmesh.thread.v1.ThreadService/UpdateThread", User, Orchestrator),
    duplex("/runmesh.worker.v1.WorkerService/Claim", Worker, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/Finish", Lease, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/GetRunContext", Lease, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/Heartbeat", Worker, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/ListWorkers", User, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/RecordStep", Lease, Orchestrator),
    short("/runmesh.worker.v1.WorkerService/Release", Lease, Orchestrator),
];

static BY_PATH: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| METHODS.iter().map(|method| (method.path, method)).collect());

/// The row of `path`, if there is such a method.
#[must_use]
pub fn find(path: &str) -> Option<&'static Method> {
    BY_PATH.get(path).copied()
}

/// The most time that a call of `path` may take; what nobody knows may not take long.
#[must_use]
pub fn deadline(path: &str) -> Option<Duration> {
    match find(path) {
        Some(Method { class: Class::Follow, .. }) => None,
        Some(Method { class: Class::Short, .. }) | None => Some(SHORT_MAX),
    }
}

/// The public services, in order, with what is behind each.
#[must_use]
pub fn services() -> &'static [(&'static str, Upstream)] {
    static SERVICES: LazyLock<Vec<(&'static str, Upstream)>> = LazyLock::new(|| {
        let mut all: Vec<_> = METHODS.iter().map(|method| (method.service(), method.upstream)).collect();
        all.sort_unstable();
        all.dedup();
        all
    });
    &SERVICES
}
