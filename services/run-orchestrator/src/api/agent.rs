//! AgentService.

use super::{answer, page};
use crate::commands::agents::{CreateAgent, DeleteAgent, GetAgent, ListAgents, UpdateAgent};
use crate::ids::new_uuid;
use crate::principal;
use runmesh_command::{AdminOnly, By, Caller, Commands, Idempotent};
use runmesh_domain::agent::{Agent, AgentSpec};
use runmesh_domain::id::AgentId;
use runmesh_domain::{Refusal, Result, limits, text};
use runmesh_store::agents::AgentRef;
use runmesh_wire::convert::{required, unsigned};
use runmesh_wire::pb::agent as pb;
use runmesh_wire::{FromWire as _, IntoWire as _};
use tonic::{Request, Response, Status};

/// Serves AgentService.
pub struct AgentApi {
    pub commands: Commands,
}

#[tonic::async_trait]
impl pb::agent_service_server::AgentService for AgentApi {
    async fn create_agent(&self, request: Request<pb::CreateAgentRequest>) -> Result<Response<pb::CreateAgentResponse>, Status> {
        answer(self.create(request).await)
    }

    async fn get_agent(&self, request: Request<pb::GetAgentRequest>) -> Result<Response<pb::GetAgentResponse>, Status> {
        answer(self.get(request).await)
    }

    async fn list_agents(&self, request: Request<pb::ListAgentsRequest>) -> Result<Response<pb::ListAgentsResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn update_agent(&self, request: Request<pb::UpdateAgentRequest>) -> Result<Response<pb::UpdateAgentResponse>, Status> {
        answer(self.update(request).await)
    }

    async fn delete_agent(&self, request: Request<pb::DeleteAgentRequest>) -> Result<Response<pb::DeleteAgentResponse>, Status> {
        answer(self.delete(request).await)
    }
}

fn spec_of(spec: Option<pb::AgentSpec>) -> Result<AgentSpec> {
    let spec: AgentSpec = required("spec", spec)?.from_wire("spec")?;
    spec.check()?;
    Ok(spec)
}

/// An agent's id or name, for a look-up.
fn agent_ref(agent: &str) -> Result<AgentRef> {
    text::at_most_bytes("agent", agent, limits::NAME_BYTES_MAX)?;
    if agent.is_empty() {
        return Err(Refusal::field("agent", "is required").into());
    }
    Ok(AgentRef::parse(agent))
}

fn decode_create(caller: Caller, request: pb::CreateAgentRequest) -> Result<AdminOnly<CreateAgent>> {
    let pb::CreateAgentRequest { idempotency_key: _, name, spec } = request;
    text::name("name", &name, false)?;
    let command = CreateAgent { org: caller.org, id: AgentId::from_uuid(new_uuid()), name, spec: spec_of(spec)? };
    Ok(AdminOnly { caller, command })
}

fn decode_update(caller: Caller, request: pb::UpdateAgentRequest) -> Result<AdminOnly<UpdateAgent>> {
    let pb::UpdateAgentRequest { idempotency_key: _, agent, spec, expected_version } = request;
    let (agent, spec) = (agent_ref(&agent)?, spec_of(spec)?);
    let expected_version = unsigned("expected_version", expected_version)?;
    Ok(AdminOnly { caller, command: UpdateAgent { org: caller.org, agent, spec, expected_version } })
}

fn decode_delete(caller: Caller, request: pb::DeleteAgentRequest) -> Result<AdminOnly<DeleteAgent>> {
    let pb::DeleteAgentRequest { idempotency_key: _, agent } = request;
    Ok(AdminOnly { caller, command: DeleteAgent { org: caller.org, agent: agent_ref(&agent)? } })
}

impl AgentApi {
    async fn create(&self, request: Request<pb::CreateAgentRequest>) -> Result<pb::CreateAgentResponse> {
        let caller = principal::caller(&request)?;
        let encode = |agent: Agent| pb::CreateAgentResponse { agent: Some(agent.into_wire()), replayed: false };
        let decode = |request| decode_create(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn get(&self, request: Request<pb::GetAgentRequest>) -> Result<pb::GetAgentResponse> {
        let caller = principal::caller(&request)?;
        let agent = agent_ref(&request.into_inner().agent)?;
        let agent = self.commands.read(caller, GetAgent { org: caller.org, agent }).await?;
        Ok(pb::GetAgentResponse { agent: Some(agent.into_wire()) })
    }

    async fn list(&self, request: Request<pb::ListAgentsRequest>) -> Result<pb::ListAgentsResponse> {
        let caller = principal::caller(&request)?;
        let pb::ListAgentsRequest { page_size: size, page_token } = request.into_inner();
        let page = self.commands.read(caller, ListAgents { org: caller.org, page: page(size, page_token)? }).await?;
        let agents = page.items.into_iter().map(|agent| agent.into_wire()).collect();
        Ok(pb::ListAgentsResponse { agents, next_page_token: page.next_page_token })
    }

    async fn update(&self, request: Request<pb::UpdateAgentRequest>) -> Result<pb::UpdateAgentResponse> {
        let caller = principal::caller(&request)?;
        let encode = |agent: Agent| pb::UpdateAgentResponse { agent: Some(agent.into_wire()), replayed: false };
        let decode = |request| decode_update(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }

    async fn delete(&self, request: Request<pb::DeleteAgentRequest>) -> Result<pb::DeleteAgentResponse> {
        let caller = principal::caller(&request)?;
        let encode = |()| pb::DeleteAgentResponse { replayed: false };
        let decode = |request| decode_delete(caller, request);
        self.commands.mutate(Idempotent::new(By::Member(caller), request.into_inner(), decode, encode)?).await
    }
}
