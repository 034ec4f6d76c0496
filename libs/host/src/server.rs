//! The gRPC server of every process: accepts connections, puts the same layers around any routes, and drains without ever
//! hanging. Knows nothing of the methods it serves but what [`Policy`] tells it.

mod accept;
mod body;
mod config;
mod connection;
mod deadline;
mod guard;
pub(crate) mod http2;
pub(crate) mod infrastructure;
mod normalise;
mod panic;
mod request_id;
mod shed;
mod stack;
mod stall;
mod trace;
mod web;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::Code;
use tonic::service::Routes;

pub use config::ServerConfig;
pub use guard::{Guard, Principal};

use crate::health::Reporter;
use crate::lifecycle::Lifecycle;
use crate::status::{self, ReasonOf};

/// What the server must be told about methods and words, since the host knows none.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The reason of a status that nobody gave one.
    pub reason: ReasonOf,
    /// Whether there is a method of this path. Only the names of methods that are known stand in metrics: a caller may send any path.
    /// Health and reflection are known without it.
    pub knows: fn(&str) -> bool,
    /// The most time a call of this path (`/package.Service/Method`) may take. `None` for streams that follow something: they
    /// have a deadline only if the caller sent one. Not asked for health and reflection, whose times the host knows.
    pub deadline: fn(&str) -> Option<Duration>,
}

/// Deadline of calls when nobody says another.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

impl Default for Policy {
    fn default() -> Self {
        Self { reason: default_reason, knows: |_| false, deadline: |_| Some(DEADLINE_DEFAULT) }
    }
}

fn default_reason(code: Code) -> &'static str {
    status::name(code)
}

/// When a stream ends by itself. A handler puts it into the extensions of its answer: a reader that takes nothing would keep the
/// stream from ending, so it is reset soon after.
#[derive(Clone, Copy, Debug)]
pub struct EndsAt(pub tokio::time::Instant);

/// Health and reflection: open to everybody, in small numbers and for small messages.
#[must_use]
pub fn is_infrastructure(path: &str) -> bool {
    infrastructure::method(path).is_some()
}

/// A server before it is given a listener.
pub struct Server {
    config: ServerConfig,
    policy: Policy,
    guard: Option<Arc<dyn Guard>>,
    health: Option<Reporter>,
}

impl Server {
    /// A server with the default policy, no guard and no health service.
    #[must_use]
    pub fn builder(config: ServerConfig) -> Self {
        Self { config, policy: Policy::default(), guard: None, health: None }
    }

    /// Reasons and deadlines by method.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Who may call: checked last, right before the routes.
    #[must_use]
    pub fn guard(mut self, guard: impl Guard) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }

    /// Serves `grpc.health.v1` from `reporter`, and turns it NOT_SERVING as the first thing of a drain.
    #[must_use]
    pub fn health(mut self, reporter: Reporter) -> Self {
        self.health = Some(reporter);
        self
    }

    /// Serves `routes` on `listener` until the lifecycle drains. Spawn it: `life.spawn("grpc", server.serve(…))`.
    ///
    /// On the soft token health says NOT_SERVING, after `drain_delay` the listener closes and connections get GOAWAY; the future
    /// ends when the last connection has. The hard token closes what is left.
    ///
    /// # Errors
    ///
    /// When the listener is of no use any more.
    pub async fn serve(self, listener: TcpListener, routes: Routes, lifecycle: Lifecycle) -> io::Result<()> {
        let routes = match &self.health {
            Some(reporter) => routes.add_service(reporter.service()),
            None => routes,
        };
        let stack = stack::build(routes.prepare(), &self.config, self.policy, self.guard);
        let shutdown = accept::Shutdown::new(lifecycle, self.health, self.config.drain_delay);
        if self.config.grpc_web {
            let edge = web::wrap(stack, &self.config.cors_origins);
            accept::run(listener, edge, &self.config, shutdown).await
        } else {
            accept::run(listener, stack, &self.config, shutdown).await
        }
    }
}
