//! Agents.

use super::page::{Page, Paging};
use crate::client::Client;
use crate::error::ClientError;
use crate::key;
use runmesh_domain::Reason;
use runmesh_domain::agent::{AgentSpec, ToolKind};
use runmesh_domain::canonical;
use runmesh_wire::convert::{required, signed};
use runmesh_wire::pb::agent as pb;
use runmesh_wire::pb::agent::agent_service_client::AgentServiceClient;
use runmesh_wire::{FromWire as _, IntoWire as _};

/// What applying a definition did.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// There was no agent of that name.
    Created(pb::Agent),
    /// There was, and it has a new version.
    Updated(pb::Agent),
    /// It is so already.
    Unchanged(pb::Agent),
}

impl Client {
    /// Makes an agent.
    ///
    /// # Errors
    /// `NAME_TAKEN`, `INVALID_FIELD`, `PERMISSION_DENIED`, and those of every call.
    pub async fn create_agent(&self, name: &str, spec: AgentSpec) -> Result<pb::Agent, ClientError> {
        let message = pb::CreateAgentRequest { idempotency_key: key::new(), name: name.to_owned(), spec: Some(spec.into_wire()) };
        let call = |channel, request| async move { AgentServiceClient::new(channel).create_agent(request).await };
        Ok(required("agent", self.unary(message, call).await?.agent)?)
    }

    /// One agent, by id or name.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of every call.
    pub async fn get_agent(&self, agent: &str) -> Result<pb::Agent, ClientError> {
        let message = pb::GetAgentRequest { agent: agent.to_owned() };
        let call = |channel, request| async move { AgentServiceClient::new(channel).get_agent(request).await };
        Ok(required("agent", self.unary(message, call).await?.agent)?)
    }

    /// The org's agents, newest first. A page ends early when its definitions are long.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_agents(&self, paging: Paging) -> Result<Page<pb::Agent>, ClientError> {
        let message = pb::ListAgentsRequest { page_size: paging.wire_size(), page_token: paging.token };
        let call = |channel, request| async move { AgentServiceClient::new(channel).list_agents(request).await };
        let pb::ListAgentsResponse { agents, next_page_token } = self.unary(message, call).await?;
        Ok(Page::new(agents, next_page_token))
    }

    /// Gives an agent, by id or name, a whole new definition; only if it is at `expected_version`, when given.
    ///
    /// # Errors
    /// `NOT_FOUND`, `CONFLICT`, `INVALID_FIELD`, `PERMISSION_DENIED`, and those of every call.
    pub async fn update_agent(
        &self,
        agent: &str,
        spec: AgentSpec,
        expected_version: Option<u64>,
    ) -> Result<pb::Agent, ClientError> {
        let message = pb::UpdateAgentRequest {
            idempotency_key: key::new(),
            agent: agent.to_owned(),
            spec: Some(spec.into_wire()),
            expected_version: expected_version.map(signed).unwrap_or_default(),
        };
        let call = |channel, request| async move { AgentServiceClient::new(channel).update_agent(request).await };
        Ok(required("agent", self.unary(message, call).await?.agent)?)
    }

    /// Deletes an agent, by id or name. Its threads can be read and no longer sent to.
    ///
    /// # Errors
    /// `NOT_FOUND`, `PERMISSION_DENIED`, and those of every call.
    pub async fn delete_agent(&self, agent: &str) -> Result<(), ClientError> {
        let message = pb::DeleteAgentRequest { idempotency_key: key::new(), agent: agent.to_owned() };
        let call = |channel, request| async move { AgentServiceClient::new(channel).delete_agent(request).await };
        self.unary(message, call).await.map(|_| ())
    }

    /// Makes the agent `name` what `spec` says, whether it exists or not.
    ///
    /// # Errors
    /// As [`Client::create_agent`] and [`Client::update_agent`]; `CONFLICT` or `NAME_TAKEN` when somebody else changes it
    /// at the same time.
    pub async fn apply_agent(&self, name: &str, spec: AgentSpec) -> Result<Applied, ClientError> {
        let known = match self.get_agent(name).await {
            Ok(known) => known,
            Err(error) if error.reason() == Some(Reason::NotFound) => {
                return self.create_agent(name, spec).await.map(Applied::Created);
            }
            Err(error) => return Err(error),
        };
        let now: AgentSpec = known.spec.clone().unwrap_or_default().from_wire("agent.spec")?;
        if comparable(now) == comparable(spec.clone()) {
            return Ok(Applied::Unchanged(known));
        }
        let updated = self.update_agent(name, spec, u64::try_from(known.version).ok()).await?;
        Ok(if updated.version == known.version { Applied::Unchanged(updated) } else { Applied::Updated(updated) })
    }
}

/// The definition with its schemas in one form: the same schema may be written in many.
fn comparable(mut spec: AgentSpec) -> AgentSpec {
    for tool in &mut spec.tools {
        if let ToolKind::Http { schema, .. } = &mut tool.kind
            && let Ok(form) = canonical::json(schema)
        {
            *schema = form;
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::agent::{Tool, ToolPolicy};

    #[test]
    fn the_order_of_keys_in_a_schema_is_no_difference() {
        let with = |schema: &str| {
            let kind = ToolKind::Http { url: "http://x/".into(), schema: schema.into(), idempotent: true };
            let tool = Tool { name: "t".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
            comparable(AgentSpec { tools: vec![tool], ..AgentSpec::default() })
        };
        assert_eq!(with(r#"{"a":1,"b":2}"#), with(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(with(r#"{"a":1}"#), with(r#"{"a":2}"#));
    }
}
