//! The services behind: three sets of connections to each, one for calls, one for what people follow, and one for the streams of
//! workers. So neither viewers that read nothing nor a log that takes nothing can hold up anybody but their like.

use runmesh_domain::limits::STREAM_MESSAGE_BYTES_MAX;
use runmesh_host::upstream::{Upstream as Picker, UpstreamConfig, UpstreamError};

use crate::config::GatewayConfig;
use crate::methods::{Method, Pool, Upstream};

/// The five bytes before a message on the wire.
const FRAME_HEADER_BYTES: usize = 5;

/// Pickers of every service.
pub(crate) struct Upstreams {
    orchestrator: Pools,
    approval: Pools,
    relay: Pools,
    summary: Pools,
}

struct Pools {
    unary: Picker,
    viewers: Picker,
    workers: Picker,
}

impl Pools {
    fn new(name: &str, urls: &[String]) -> Result<Self, UpstreamError> {
        let mut unary = UpstreamConfig::unary(name, urls.to_vec());
        unary.request_bytes_max = STREAM_MESSAGE_BYTES_MAX + FRAME_HEADER_BYTES;
        let streams = |kind: &str| Picker::new(UpstreamConfig::streaming(&format!("{name}-{kind}"), urls.to_vec()));
        Ok(Self { unary: Picker::new(unary)?, viewers: streams("streams")?, workers: streams("workers")? })
    }
}

impl Upstreams {
    /// Pickers over the addresses of `config`. Call it inside a runtime.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, UpstreamError> {
        Ok(Self {
            orchestrator: Pools::new("run-orchestrator", &config.orchestrators)?,
            approval: Pools::new("approval", &config.approvals)?,
            relay: Pools::new("stream-relay", &config.relays)?,
            summary: Pools::new("summary", &config.summaries)?,
        })
    }

    /// Where a call of `method` goes.
    pub(crate) fn of(&self, method: &Method) -> Picker {
        let pools = self.pools(method.upstream);
        match method.pool {
            Pool::Unary => pools.unary.clone(),
            Pool::Viewers => pools.viewers.clone(),
            Pool::Workers => pools.workers.clone(),
        }
    }

    /// Whether anybody answers for `upstream`.
    pub(crate) fn is_ready(&self, upstream: Upstream) -> bool {
        let Pools { unary, viewers, workers } = self.pools(upstream);
        unary.ready() || viewers.ready() || workers.ready()
    }

    fn pools(&self, upstream: Upstream) -> &Pools {
        match upstream {
            Upstream::Orchestrator => &self.orchestrator,
            Upstream::Approval => &self.approval,
            Upstream::Relay => &self.relay,
            Upstream::Summary => &self.summary,
        }
    }
}
