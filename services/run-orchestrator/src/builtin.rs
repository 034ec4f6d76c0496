//! The worker inside a replica. It speaks the very protocol that workers elsewhere do: its Claim stream goes over the network
//! to this process, its events to a relay. The only thing it has that they have not is the mesh's key, with which it mints
//! the principals that the gateway mints for others.

use crate::config::Config;
use http::HeaderValue;
use runmesh_agent::{Channels, Credentials, ModelConfig, Provider, Toolbox, ToolsConfig, Worker, WorkerConfig};
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_host::signed::{MeshKey, Signer, Verifier};
use runmesh_host::start::StartError;
use runmesh_host::{Lifecycle, Upstream, UpstreamConfig};
use runmesh_wire::{channel, header};
use secrecy::SecretString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

/// The credential of the worker inside a replica.
pub const CREDENTIAL: &str = WorkerCredential::BUILT_IN;

/// A hop's principal is good for this long; one is made for every call.
const HOP_TTL: Duration = Duration::from_secs(60);

/// Starts the worker; `done` is cancelled when it has given everything back.
pub fn start(
    config: &Config,
    key: &MeshKey,
    here: SocketAddr,
    life: &Lifecycle,
    done: CancellationToken,
) -> Result<(), StartError> {
    let minting = Minting::new(key);
    let refused = |error: &dyn std::fmt::Display| StartError::Part(format!("built-in worker: {error}"));
    let worker = Worker::new(WorkerConfig {
        name: name(config),
        capacity: config.worker.capacity,
        agent_ids: Vec::new(),
        tools: vec!["*".to_owned()],
        channels: channels(&config.relays, here, &minting)?,
        credentials: Credentials { header: header::PRINCIPAL, worker_token: Arc::new(move || minting.worker()) },
        provider: Provider::new(model(config)?).map_err(|error| refused(&error))?,
        toolbox: Toolbox::new(ToolsConfig { private_addresses: config.worker.private_addresses }),
        drain_grace: Duration::from_millis(config.worker.drain_grace_ms),
    })
    .map_err(|error| refused(&error))?;
    let (soft, hard) = (life.soft().clone(), life.hard().clone());
    life.spawn("worker", async move {
        let _told = done.drop_guard();
        worker.run(soft, hard).await
    });
    Ok(())
}

/// The ways to this process and to the relays. Run tokens are turned into principals on the way, as the gateway does.
fn channels(relays: &[String], here: SocketAddr, minting: &Minting) -> Result<Channels, StartError> {
    let own = vec![format!("http://{here}")];
    let claims = Upstream::new(UpstreamConfig::streaming("run-orchestrator", own.clone()))?;
    let calls = Upstream::new(UpstreamConfig::unary("run-orchestrator", own.clone()))?;
    let appends = Upstream::new(UpstreamConfig::streaming("stream-relay", relays.to_vec()))?;
    let beats = channel::boxed(calls.clone());
    Ok(Channels {
        claims: channel::boxed(claims),
        calls: channel::boxed(minting.around(calls)),
        appends: channel::boxed(minting.around(appends)),
        heartbeats: Arc::new(move || {
            let own = UpstreamConfig::unary("run-orchestrator", own.clone());
            Upstream::new(own).map_or_else(|_| beats.clone(), channel::boxed)
        }),
    })
}

fn name(config: &Config) -> String {
    if !config.worker.name.is_empty() {
        return config.worker.name.clone();
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "built-in".to_owned() } else { format!("built-in@{host}") }
}

fn model(config: &Config) -> Result<ModelConfig, StartError> {
    let key = match (&config.worker.model_key, &config.worker.model_key_file) {
        (Some(key), _) => Some(key.clone()),
        (None, Some(file)) => Some(SecretString::from(std::fs::read_to_string(file)?.trim().to_owned())),
        (None, None) => None,
    };
    Ok(ModelConfig { base_url: config.worker.model_url.clone(), api_key: key })
}

/// Mints the principal of every call, as the gateway does for workers elsewhere.
#[derive(Clone)]
struct Minting {
    hops: Signer,
    runs: Verifier,
}

impl Minting {
    fn new(key: &MeshKey) -> Self {
        Self {
            hops: Signer::new(key, header::HOP_TYPE, header::AUDIENCE),
            runs: Verifier::new(key, header::RUN_TYPE, header::AUDIENCE),
        }
    }

    /// The principal of the worker's own calls. Empty when it cannot be signed, which the other side then refuses.
    fn worker(&self) -> String {
        let credential = WorkerCredential { id: CREDENTIAL.into(), orgs: None, agents: None };
        self.hops.sign(&Principal::Worker(credential), HOP_TTL).unwrap_or_default()
    }

    /// The principal that a run token stands for.
    fn lease(&self, run_token: &str) -> Option<HeaderValue> {
        let claim = self.runs.verify::<LeaseClaim>(run_token).ok()?.claims;
        let signed = self.hops.sign(&Principal::Lease(claim), HOP_TTL).ok()?;
        let mut value = HeaderValue::try_from(signed).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `upstream`, with run tokens in the principal's header turned into what they stand for.
    fn around(
        &self,
        upstream: Upstream,
    ) -> impl tower::Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = std::convert::Infallible,
        Future = <Upstream as tower::Service<http::Request<Body>>>::Future,
    > + Clone
    + Send
    + Sync
    + 'static {
        let minting = self.clone();
        tower::util::MapRequest::new(upstream, move |mut request: http::Request<Body>| {
            let token = request.headers().get(header::PRINCIPAL).and_then(|value| value.to_str().ok());
            if let Some(principal) = token.and_then(|token| minting.lease(token)) {
                request.headers_mut().insert(header::PRINCIPAL, principal);
            }
            request
        })
    }
}
