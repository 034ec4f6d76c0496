//! The five services and the model, on loopback ports of this process.

use super::{Dev, data};
use crate::failure::Failure;
use crate::token;
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::limits::Leases;
use runmesh_engines::Engines;
use runmesh_gateway::GatewayConfig;
use runmesh_host::health::Reporter;
use runmesh_host::signed::MeshKey;
use runmesh_host::{Lifecycle, ServerConfig};
use secrecy::SecretString;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// Ports tried for the gateway, from the one asked for on.
const PORTS_TRIED: u16 = 50;
/// How long the gateway may take to reach every service; `dev` goes on after that, and `doctor` names what is missing.
const SERVING_WITHIN: Duration = Duration::from_secs(10);
/// How long each service may take to drain.
const GRACE: Duration = Duration::from_secs(15);

/// The mesh as it runs.
pub struct Running {
    /// The gateway's address.
    pub gateway: SocketAddr,
    /// The model that answers, and where.
    pub model: String,
    /// True when it is the mock.
    pub is_mock: bool,
    /// Lives of the services in the order in which they drain.
    lives: Vec<Lifecycle>,
}

impl Running {
    /// Waits for Ctrl-C or for a service to die, then drains: first the orchestrator, whose worker gives its runs back, then
    /// the relay, which sends its viewers away with a cursor, then the rest.
    pub async fn until_stopped(self, life: &Lifecycle) -> Result<(), Failure> {
        let any_ends = self.lives.iter().map(|service| Box::pin(service.soft().cancelled()));
        tokio::select! {
            () = life.soft().cancelled() => {}
            _ = futures::future::select_all(any_ends) => life.stop(),
        }
        for service in &self.lives {
            service.drain(GRACE).await;
        }
        life.drain(Duration::from_secs(1)).await;
        let faults = self.lives.iter().chain([life]).filter_map(Lifecycle::fault);
        faults.map(|fault| Failure::fault(fault.to_string())).next().map_or(Ok(()), Err)
    }
}

/// What all services share.
struct Parts {
    postgres: SecretString,
    nats: String,
    key: MeshKey,
    identity_key: MeshKey,
    leases: Leases,
}

/// Starts everything.
pub async fn start(dev: &Dev, engines: &Engines, life: &Lifecycle) -> Result<Running, Failure> {
    let parts = Parts {
        postgres: SecretString::from(engines.postgres_url().to_owned()),
        nats: engines.nats_url().to_owned(),
        key: data::key(engines.data_dir(), "mesh.key")?,
        identity_key: data::key(engines.data_dir(), "identity.key")?,
        leases: Leases { lease_ms: dev.lease_ms, heartbeat_ms: dev.lease_ms / 3, ..Leases::default() },
    };
    let (model_url, model) = model(dev, life).await?;
    let (relay, relay_life) = relay(&parts).await?;
    let (orchestrator, orchestrator_life) = orchestrator(dev, &parts, relay, (&model_url, &model)).await?;
    let (approval, approval_life) = approval(&parts).await?;
    let (summary, summary_life) = summary(&parts).await?;
    let (gateway, gateway_life) = gateway(dev, &parts, Upstreams { orchestrator, relay, approval, summary }).await?;
    Ok(Running {
        gateway,
        is_mock: dev.model_url.is_none(),
        model,
        lives: vec![orchestrator_life, relay_life, gateway_life, approval_life, summary_life],
    })
}

async fn loopback() -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = crate::serve::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().map_err(Failure::start)?;
    Ok((listener, address))
}

/// The URL and the name of the model: the one named, or the mock.
async fn model(dev: &Dev, life: &Lifecycle) -> Result<(String, String), Failure> {
    if let (Some(url), Some(model)) = (&dev.model_url, &dev.model) {
        return Ok((url.clone(), model.clone()));
    }
    let (listener, address) = loopback().await?;
    let hard = life.hard().clone();
    life.spawn_aside("mock-model", runmesh_mock_model::serve(listener, async move { hard.cancelled().await }));
    Ok((format!("http://{address}/v1"), "mock".to_owned()))
}

async fn relay(parts: &Parts) -> Result<(SocketAddr, Lifecycle), Failure> {
    let (listener, address) = loopback().await?;
    let life = Lifecycle::new();
    let config = runmesh_stream_relay::Config {
        postgres_url: parts.postgres.clone(),
        nats_url: parts.nats.clone(),
        mesh_key: Some(parts.key.clone()),
        ..runmesh_stream_relay::Config::default()
    };
    let health = Reporter::new(runmesh_stream_relay::services());
    runmesh_stream_relay::serve(config, listener, life.clone(), health).await.map_err(Failure::start)?;
    Ok((address, life))
}

async fn orchestrator(
    dev: &Dev,
    parts: &Parts,
    relay: SocketAddr,
    (model_url, model): (&str, &str),
) -> Result<(SocketAddr, Lifecycle), Failure> {
    let (listener, address) = loopback().await?;
    let life = Lifecycle::new();
    let worker = runmesh_run_orchestrator::BuiltinWorker {
        model_url: model_url.to_owned(),
        model_key: model_key(),
        model_key_file: dev.model_key_file.clone(),
        private_addresses: true,
        ..runmesh_run_orchestrator::BuiltinWorker::default()
    };
    let config = runmesh_run_orchestrator::Config {
        postgres_url: parts.postgres.clone(),
        nats_url: parts.nats.clone(),
        mesh_key: Some(parts.key.clone()),
        relays: vec![format!("http://{relay}")],
        default_model: Some(model.to_owned()),
        worker,
        leases: parts.leases,
        orgs: vec!["dev".to_owned()],
        org_admins: vec!["dev|you".to_owned()],
        org_creators: vec!["dev|you".to_owned()],
        default_agent: default_agent(),
        ..runmesh_run_orchestrator::Config::default()
    };
    let health = Reporter::new(runmesh_run_orchestrator::services());
    runmesh_run_orchestrator::serve(config, listener, life.clone(), health).await.map_err(Failure::start)?;
    Ok((address, life))
}

fn model_key() -> Option<SecretString> {
    let names = ["RUNMESH_MODEL_KEY", "OPENAI_API_KEY"];
    let key = names.iter().find_map(|name| std::env::var(name).ok().filter(|key| !key.is_empty()));
    key.map(SecretString::from)
}

/// The agent that every development org starts with.
fn default_agent() -> AgentSpec {
    let clock = Tool {
        name: "current_time".to_owned(),
        description: "The current date and time.".to_owned(),
        policy: ToolPolicy::Allow,
        kind: ToolKind::Builtin,
    };
    AgentSpec { instructions: "You are a helpful assistant.".to_owned(), tools: vec![clock], ..AgentSpec::default() }
}

async fn approval(parts: &Parts) -> Result<(SocketAddr, Lifecycle), Failure> {
    let (listener, address) = loopback().await?;
    let life = Lifecycle::new();
    let config = runmesh_approval::Config {
        postgres_url: parts.postgres.clone(),
        mesh_key: Some(parts.key.clone()),
        ..runmesh_approval::Config::default()
    };
    let health = Reporter::new(runmesh_approval::services());
    runmesh_approval::serve(config, listener, life.clone(), health).await.map_err(Failure::start)?;
    Ok((address, life))
}

async fn summary(parts: &Parts) -> Result<(SocketAddr, Lifecycle), Failure> {
    let (listener, address) = loopback().await?;
    let life = Lifecycle::new();
    let config = runmesh_summary::Config {
        postgres_url: parts.postgres.clone(),
        mesh_key: Some(parts.key.clone()),
        leases: parts.leases,
        ..runmesh_summary::Config::default()
    };
    let health = Reporter::new(runmesh_summary::services());
    runmesh_summary::serve(config, listener, life.clone(), health).await.map_err(Failure::start)?;
    Ok((address, life))
}

struct Upstreams {
    orchestrator: SocketAddr,
    relay: SocketAddr,
    approval: SocketAddr,
    summary: SocketAddr,
}

async fn gateway(dev: &Dev, parts: &Parts, upstreams: Upstreams) -> Result<(SocketAddr, Lifecycle), Failure> {
    let listener = first_free(dev.port).await?;
    let address = listener.local_addr().map_err(Failure::start)?;
    let life = Lifecycle::new();
    let url = |address: SocketAddr| vec![format!("http://{address}")];
    let config = GatewayConfig {
        orchestrators: url(upstreams.orchestrator),
        relays: url(upstreams.relay),
        approvals: url(upstreams.approval),
        summaries: url(upstreams.summary),
        mesh_key: Some(parts.key.clone()),
        dev: true,
        jwt: Some(token::dev_identity(parts.identity_key.clone())),
        reflection: true,
        server: ServerConfig { cors_origins: vec!["*".to_owned()], ..ServerConfig::default() },
        ..GatewayConfig::default()
    };
    let health = Reporter::new(runmesh_gateway::services());
    runmesh_gateway::serve(config, listener, life.clone(), health.clone()).await.map_err(Failure::start)?;
    // What `dev` prints next says that the mesh is ready: it must be so for the first call.
    if !health.wait_all_serving(SERVING_WITHIN).await {
        tracing::warn!("not every service answers the gateway yet; the log says which one");
    }
    Ok((address, life))
}

/// The port asked for, or the next free one.
async fn first_free(port: u16) -> Result<TcpListener, Failure> {
    let mut last = None;
    for port in port..=port.saturating_add(PORTS_TRIED) {
        match crate::serve::bind(&format!("127.0.0.1:{port}")).await {
            Ok(listener) => return Ok(listener),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::unavailable("no free port")).with_hint("name a free port: --port N"))
}
