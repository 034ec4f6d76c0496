//! Who may have a command run, and that commands share a transaction.

use crate::world::{World, agent_id};
use runmesh_command::{AdminOnly, Caller, Command, MemberOnly};
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Error, Reason, Result};
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_store::{Scope, Tx};

fn reason<T: std::fmt::Debug>(result: Result<T>) -> Option<Reason> {
    match result {
        Ok(_) => None,
        Err(Error::Refused(refusal)) => Some(refusal.reason()),
        Err(Error::Fault(fault)) => panic!("{fault}"),
    }
}

struct Nothing;

impl Command for Nothing {
    type Answer = ();

    async fn run(&self, _tx: &mut Tx) -> Result<()> {
        Ok(())
    }
}

struct PutMember(OrgId, UserId);

impl Command for PutMember {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        orgs::put_member(tx, self.0, self.1, MemberRole::Member).await.map(drop)
    }
}

#[tokio::test]
async fn what_a_caller_may_depends_on_their_place_in_the_org() {
    let world = World::new().await;
    let (org, scope) = (world.admin.org, Scope::Org(world.admin.org));
    let member = Caller { org, user: UserId::of_subject("test", "member") };
    world.db.run(scope, PutMember(org, member.user)).await.unwrap();
    for (caller, as_member, as_admin) in [
        (world.admin, None, None),
        (member, None, Some(Reason::PermissionDenied)),
        (world.stranger(), Some(Reason::NotFound), Some(Reason::NotFound)),
    ] {
        assert_eq!(reason(world.db.run(scope, MemberOnly { caller, command: Nothing }).await), as_member);
        assert_eq!(reason(world.db.run(scope, AdminOnly { caller, command: Nothing }).await), as_admin);
        assert_eq!(reason(world.commands.read(caller, Nothing).await), as_member);
    }
}

struct CreateAgent {
    org: OrgId,
    name: &'static str,
}

impl Command for CreateAgent {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        let spec = AgentSpec { model: "m".into(), ..AgentSpec::default() };
        agents::create(tx, self.org, agent_id(), self.name, &spec).await.map(drop)
    }
}

/// One after the other, in one transaction.
struct Both(CreateAgent, CreateAgent);

impl Command for Both {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        self.0.run(tx).await?;
        self.1.run(tx).await
    }
}

struct GetAgent(OrgId, &'static str);

impl Command for GetAgent {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        agents::get(tx, self.0, &AgentRef::parse(self.1)).await.map(drop)
    }
}

#[tokio::test]
async fn commands_of_one_transaction_are_done_together_or_not_at_all() {
    let world = World::new().await;
    let (org, scope) = (world.admin.org, Scope::Org(world.admin.org));
    let agent = |name| CreateAgent { org, name };
    let refused = world.db.run(scope, Both(agent("one"), agent("default"))).await;
    assert_eq!(reason(refused), Some(Reason::NameTaken));
    assert_eq!(reason(world.db.run(scope, GetAgent(org, "one")).await), Some(Reason::NotFound));
    world.db.run(scope, Both(agent("one"), agent("two"))).await.unwrap();
    world.db.run(scope, GetAgent(org, "one")).await.unwrap();
}
