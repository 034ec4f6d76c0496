//! AgentService.

use super::{Api, Done, answer, page};
use crate::auth;
use crate::idempotent::By;
use crate::mesh::{Mesh, new_uuid};
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::AgentId;
use runmesh_domain::{Refusal, Result, limits, text};
use runmesh_store::agents::{self, AgentRef};
use runmesh_wire::convert::{required, unsigned};
use runmesh_wire::pb::agent as pb;
use runmesh_wire::{FromWire as _, IntoWire as _};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::agent_service_server::AgentService for Api {
    async fn create_agent(&self, request: Request<pb::CreateAgentRequest>) -> Result<Response<pb::CreateAgentResponse>, Status> {
        answer(self.0.create_agent(request).await)
    }

    async fn get_agent(&self, request: Request<pb::GetAgentRequest>) -> Result<Response<pb::GetAgentResponse>, Status> {
        answer(self.0.get_agent(request).await)
    }

    async fn list_agents(&self, request: Request<pb::ListAgentsRequest>) -> Result<Response<pb::ListAgentsResponse>, Status> {
        answer(self.0.list_agents(request).await)
    }

    async fn update_agent(&self, request: Request<pb::UpdateAgentRequest>) -> Result<Response<pb::UpdateAgentResponse>, Status> {
        answer(self.0.update_agent(request).await)
    }

    async fn delete_agent(&self, request: Request<pb::DeleteAgentRequest>) -> Result<Response<pb::DeleteAgentResponse>, Status> {
        answer(self.0.delete_agent(request).await)
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

impl Mesh {
    async fn create_agent(&self, request: Request<pb::CreateAgentRequest>) -> Result<pb::CreateAgentResponse> {
        let caller = auth::caller(&request)?;
        let id = AgentId::from_uuid(new_uuid());
        let read = |request| {
            let pb::CreateAgentRequest { idempotency_key: _, name, spec } = request;
            text::name("name", &name, false)?;
            Ok((name, spec_of(spec)?))
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, (name, spec)| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                let agent = agents::create(tx, caller.org, id, &name, &spec).await?;
                Ok(Done::quiet(pb::CreateAgentResponse { agent: Some(agent.into_wire()), replayed: false }))
            })
        })
        .await
    }

    async fn get_agent(&self, request: Request<pb::GetAgentRequest>) -> Result<pb::GetAgentResponse> {
        let caller = auth::caller(&request)?;
        let agent = agent_ref(&request.into_inner().agent)?;
        let agent = self
            .read(caller, move |tx| {
                let agent = agent.clone();
                Box::pin(async move { agents::get(tx, caller.org, &agent).await })
            })
            .await?;
        Ok(pb::GetAgentResponse { agent: Some(agent.into_wire()) })
    }

    async fn list_agents(&self, request: Request<pb::ListAgentsRequest>) -> Result<pb::ListAgentsResponse> {
        let caller = auth::caller(&request)?;
        let pb::ListAgentsRequest { page_size: size, page_token } = request.into_inner();
        let page = page(size, page_token)?;
        let page = self
            .read(caller, move |tx| {
                let page = page.clone();
                Box::pin(async move { agents::list(tx, caller.org, &page).await })
            })
            .await?;
        let agents = page.items.into_iter().map(|agent| agent.into_wire()).collect();
        Ok(pb::ListAgentsResponse { agents, next_page_token: page.next_page_token })
    }

    async fn update_agent(&self, request: Request<pb::UpdateAgentRequest>) -> Result<pb::UpdateAgentResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::UpdateAgentRequest { idempotency_key: _, agent, spec, expected_version } = request;
            Ok((agent_ref(&agent)?, spec_of(spec)?, unsigned("expected_version", expected_version)?))
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, (agent, spec, expected)| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                let agent = agents::update(tx, caller.org, &agent, &spec, expected).await?;
                Ok(Done::quiet(pb::UpdateAgentResponse { agent: Some(agent.into_wire()), replayed: false }))
            })
        })
        .await
    }

    async fn delete_agent(&self, request: Request<pb::DeleteAgentRequest>) -> Result<pb::DeleteAgentResponse> {
        let caller = auth::caller(&request)?;
        let read = |request| {
            let pb::DeleteAgentRequest { idempotency_key: _, agent } = request;
            agent_ref(&agent)
        };
        self.mutate(By::Member(caller), request.into_inner(), read, move |tx, agent| {
            Box::pin(async move {
                auth::require_admin(tx, caller).await?;
                agents::delete(tx, caller.org, &agent).await?;
                Ok(Done::quiet(pb::DeleteAgentResponse { replayed: false }))
            })
        })
        .await
    }
}
