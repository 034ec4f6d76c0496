//! The tools a worker runs: those that runmesh has itself, and those behind a URL.
//!
//! A call here never fails: what goes wrong is content for the model. Whether a call may run was decided before, from the
//! frozen policy; nothing here asks again, and nothing here repeats a call.

mod addresses;
mod clock;
mod http_call;
mod schema;

use crate::model::{CONNECT_TIMEOUT, Secrets};
use runmesh_domain::agent::{AgentSpec, ToolKind};
use runmesh_domain::text::cut;
use runmesh_domain::{canonical, limits};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Checks of arguments against schemas at once. Each keeps a thread busy, for a second at the very most.
const CHECKS_AT_ONCE: usize = 2;

/// What the tools of a worker may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToolsConfig {
    /// True when tools may call addresses that are not of the public Internet: loopback, private and link-local ones.
    /// Right where whoever defines agents also runs the network: in development, or in a mesh of one's own.
    pub private_addresses: bool,
}

/// A call that may run.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them.
    pub arguments: String,
    /// The key that every try of this call carries.
    pub idempotency_key: String,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The result or the error, for the model; at most [`limits::TOOL_RESULT_BYTES_MAX`], without NUL.
    pub content: String,
    /// True when the content is an error.
    pub is_error: bool,
}

impl ToolOutcome {
    pub(crate) fn result(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: false }
    }

    pub(crate) fn error(content: impl Into<String>) -> Self {
        Self { content: content.into(), is_error: true }
    }

    /// The outcome with every key masked in an error. A result is the tool's own and stays as it is.
    pub(crate) fn without_keys(self, secrets: &Secrets) -> Self {
        if self.is_error { Self { content: secrets.masked(&self.content), ..self } } else { self }
    }
}

/// Everything that tools need to run; cheap to clone.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// Made by the first call of an HTTP tool: many workers never see one.
    client: Arc<OnceLock<reqwest::Client>>,
    /// How many checks of arguments run at once.
    checks: Arc<Semaphore>,
    config: ToolsConfig,
}

impl Toolbox {
    /// The tools of one worker.
    #[must_use]
    pub fn new(config: ToolsConfig) -> Self {
        Self { client: Arc::default(), checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)), config }
    }

    /// The HTTP client of the tools. No proxy is taken from the environment and no redirect is followed.
    fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .retry(reqwest::retry::never());
        let public_only = !self.config.private_addresses;
        let builder = if public_only { builder.dns_resolver(Arc::new(addresses::PublicOnly)) } else { builder };
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Runs a call to its end or its deadline.
    pub async fn call(&self, spec: &AgentSpec, call: &ToolCall) -> ToolOutcome {
        let Some(tool) = spec.tool(&call.name) else {
            return ToolOutcome::error(format!("there is no tool called {:?}", call.name));
        };
        let arguments = match canonical::arguments(&call.arguments) {
            Ok(arguments) => arguments,
            Err(problem) => return ToolOutcome::error(problem),
        };
        let outcome = match &tool.kind {
            ToolKind::Builtin => self.builtin(spec, &call.name),
            ToolKind::Http { url, schema, .. } => {
                let timeout = Duration::from_millis(spec.limits.tool_timeout_ms);
                let target = http_call::Target { url, schema, key: &call.idempotency_key, timeout };
                match self.client() {
                    Ok(client) => http_call::run(client, &self.checks, self.config, &target, arguments).await,
                    Err(error) => ToolOutcome::error(format!("this worker cannot make http calls: {error}")),
                }
            }
        };
        bounded(outcome)
    }

    fn builtin(&self, spec: &AgentSpec, name: &str) -> ToolOutcome {
        match name {
            "current_time" => ToolOutcome::result(clock::tell(time::OffsetDateTime::now_utc(), &spec.time_zone)),
            _ => ToolOutcome::error("this worker has no such tool"),
        }
    }
}

fn bounded(outcome: ToolOutcome) -> ToolOutcome {
    let ToolOutcome { mut content, is_error } = outcome;
    if content.as_bytes().contains(&0) {
        content = content.replace('\0', "\u{fffd}");
    }
    ToolOutcome { content: cut(content, limits::TOOL_RESULT_BYTES_MAX), is_error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_result_holds_nul() {
        let outcome = bounded(ToolOutcome::result("a\0b"));
        assert_eq!(outcome.content, "a\u{fffd}b");
    }
}
