//! Agents.

use runmesh_command::{Command, Done};
use runmesh_domain::Result;
use runmesh_domain::agent::{Agent, AgentSpec};
use runmesh_domain::id::{AgentId, OrgId};
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::{Page, PageRequest, Tx};

/// Creates an agent under a new id.
pub struct CreateAgent {
    pub org: OrgId,
    pub id: AgentId,
    pub name: String,
    pub spec: AgentSpec,
}

impl Command for CreateAgent {
    type Answer = Done<Agent>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(agents::create(tx, self.org, self.id, &self.name, &self.spec).await?))
    }
}

/// Reads an agent.
pub struct GetAgent {
    pub org: OrgId,
    pub agent: AgentRef,
}

impl Command for GetAgent {
    type Answer = Agent;

    async fn run(&self, tx: &mut Tx) -> Result<Agent> {
        agents::get(tx, self.org, &self.agent).await
    }
}

/// Reads a page of the org's agents.
pub struct ListAgents {
    pub org: OrgId,
    pub page: PageRequest,
}

impl Command for ListAgents {
    type Answer = Page<Agent>;

    async fn run(&self, tx: &mut Tx) -> Result<Page<Agent>> {
        agents::list(tx, self.org, &self.page).await
    }
}

/// Gives an agent a new version.
pub struct UpdateAgent {
    pub org: OrgId,
    pub agent: AgentRef,
    pub spec: AgentSpec,
    pub expected_version: u64,
}

impl Command for UpdateAgent {
    type Answer = Done<Agent>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(agents::update(tx, self.org, &self.agent, &self.spec, self.expected_version).await?))
    }
}

/// Deletes an agent.
pub struct DeleteAgent {
    pub org: OrgId,
    pub agent: AgentRef,
}

impl Command for DeleteAgent {
    type Answer = Done<()>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        Ok(Done::quiet(agents::delete(tx, self.org, &self.agent).await?))
    }
}
