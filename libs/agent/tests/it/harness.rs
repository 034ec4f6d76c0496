//! Everything a test needs around one worker: a mock model, a fake mesh, assignments, and the worker itself.

use crate::fake::FakeMesh;
use runmesh_agent::{Channels, Credentials, ModelConfig, Provider, Toolbox, ToolsConfig, Worker, WorkerConfig};
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, ThreadId};
use runmesh_domain::journal::Step;
use runmesh_domain::message::{Message, Part, Role};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Timestamp, limits};
use runmesh_mock_model::MockModel;
use runmesh_wire::IntoWire as _;
use runmesh_wire::channel::{MeshChannel, boxed};
use runmesh_wire::convert::journal::{Context, HeldRun};
use runmesh_wire::pb::worker as pb;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Installs the TLS provider, once.
pub fn install_tls() {
    // Another test of the process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn run_id() -> RunId {
    RunId::derived(&[b"run"])
}

/// A tool of the mock model's tool target.
pub fn http_tool(name: &str, url: String, idempotent: bool) -> Tool {
    let kind = ToolKind::Http { url, schema: r#"{"type":"object"}"#.into(), idempotent };
    Tool { name: name.into(), description: String::new(), policy: ToolPolicy::Allow, kind }
}

pub fn builtin(name: &str) -> Tool {
    Tool { name: name.into(), description: String::new(), policy: ToolPolicy::Allow, kind: ToolKind::Builtin }
}

/// The key of every provider here.
pub const KEY: &str = "sk-harness-0123456789abcdefWXYZ";

/// A provider of the mock model.
pub fn provider(url: &str) -> Provider {
    install_tls();
    Provider::new(ModelConfig { base_url: url.to_owned(), api_key: Some(KEY.to_owned().into()) }).unwrap()
}

/// A run on its way to a worker.
pub struct Assignment {
    pub text: String,
    pub agent: AgentSpec,
    pub steps: Vec<Step>,
    pub cancel_requested: bool,
}

impl Assignment {
    pub fn of(text: &str) -> Self {
        let agent = AgentSpec { model: "mock".into(), ..AgentSpec::default() };
        Self { text: text.to_owned(), agent, steps: Vec::new(), cancel_requested: false }
    }

    pub fn tool(mut self, tool: Tool) -> Self {
        self.agent.tools.push(tool);
        self
    }

    /// The window of its model.
    pub fn window(mut self, tokens: u64) -> Self {
        self.agent.limits.context_window_tokens = tokens;
        self
    }

    pub fn into_wire(self) -> pb::Assignment {
        let message = Message {
            id: MessageId::derived(&[b"message"]),
            thread: ThreadId::derived(&[b"thread"]),
            run: run_id(),
            turn_number: 1,
            role: Role::User,
            parts: vec![Part::text(self.text)],
            unfinished: false,
            internal: false,
            created_at: Timestamp::from_micros(0),
        };
        let spec = RunSpec {
            agent_id: AgentId::derived(&[b"agent"]),
            agent_version: 1,
            agent: self.agent,
            accepted_at: Timestamp::from_micros(0),
            traceparent: String::new(),
        };
        let context = Context { messages: vec![message], steps: self.steps, next_page_token: String::new() };
        pb::Assignment {
            lease: Some(HeldRun { run: run_id(), fence: 1 }.into_wire()),
            run_token: "run-token".into(),
            thread_id: ThreadId::derived(&[b"thread"]).to_string(),
            org_id: OrgId::of_name("org").to_string(),
            turn_number: 1,
            spec: Some(spec.into_wire()),
            position: None,
            cancel_requested: self.cancel_requested,
            traceparent: TRACEPARENT.into(),
            context: Some(context.into_wire()),
        }
    }
}

/// A worker at work between a mock model and a fake mesh.
pub struct Bench {
    pub model: MockModel,
    pub mesh: FakeMesh,
    pub drain: CancellationToken,
    pub worker: Option<AbortOnDropHandle<Result<(), runmesh_agent::WorkerError>>>,
    pub hints: Option<runmesh_agent::Hints>,
    _stop: Option<DropGuard>,
}

impl Bench {
    /// Everything but the worker.
    pub async fn new() -> Self {
        let (model, mesh) = (MockModel::start().await.unwrap(), FakeMesh::start().await);
        Self { model, mesh, drain: CancellationToken::new(), worker: None, hints: None, _stop: None }
    }

    /// A bench at which one run is assigned.
    pub async fn with(assignment: Assignment) -> Self {
        let mut bench = Self::new().await;
        bench.assign(assignment);
        bench.start();
        bench
    }

    pub fn assign(&self, assignment: Assignment) {
        self.mesh.state().assignments.push(assignment.into_wire());
    }

    /// The URL of a path of the tool target.
    pub fn tool_url(&self, path: &str) -> String {
        format!("{}/{path}", self.model.tools_url())
    }

    /// Puts the worker to work.
    pub fn start(&mut self) {
        let address = self.mesh.address;
        let channel = move || -> MeshChannel {
            boxed(tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
        };
        let channels = Channels { claims: channel(), calls: channel(), appends: channel(), heartbeats: Arc::new(channel) };
        let config = WorkerConfig {
            name: "test".into(),
            capacity: 2,
            agent_ids: Vec::new(),
            tools: vec!["*".into()],
            channels,
            credentials: Credentials::bearer(|| "worker-token".into()),
            provider: provider(&self.model.url()),
            toolbox: Toolbox::new(ToolsConfig { private_addresses: true }),
            drain_grace: Duration::from_secs(5),
        };
        assert!(config.capacity <= limits::WORKER_CAPACITY_MAX);
        let worker = Worker::new(config).unwrap();
        let stop = CancellationToken::new();
        self.hints = Some(worker.hints());
        self.worker = Some(AbortOnDropHandle::new(tokio::spawn(worker.run(self.drain.clone(), stop.clone()))));
        self._stop = Some(stop.drop_guard());
    }
}
