//! One key, one command (R5).

use crate::world::{Control, World, agent_id, create, soon, until};
use runmesh_command::{By, Command, Done, Idempotent};
use runmesh_domain::agent::{Agent, AgentSpec};
use runmesh_domain::id::OrgId;
use runmesh_domain::{Error, Reason, Result};
use runmesh_store::{Tx, agents};
use runmesh_wire::pb::agent as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Barrier, Semaphore};

fn reason<T: std::fmt::Debug>(result: Result<T>) -> Reason {
    match result.unwrap_err() {
        Error::Refused(refusal) => refusal.reason(),
        Error::Fault(fault) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let (world, control) = (World::new().await, Control::default());
    let first = world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    let again = world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    assert_eq!(again.thread, first.thread);
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(control.begun.load(Ordering::SeqCst), 1);
    assert_eq!(world.thread_count().await, 1);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let (world, control) = (World::new().await, Control::default());
    world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    let other = world.commands.mutate(create(world.admin, "k", "two", &control)).await;
    assert_eq!(reason(other), Reason::IdempotencyKeyReused);
    assert_eq!(world.thread_count().await, 1);
}

#[tokio::test]
async fn concurrent_duplicates_get_one_answer() {
    let world = World::new().await;
    // Both have looked for a first answer, and found none, before either does its work.
    let control = Control { together: Some(Arc::new(Barrier::new(2))), ..Control::default() };
    let one = world.commands.mutate(create(world.admin, "k", "one", &control));
    let two = world.commands.mutate(create(world.admin, "k", "one", &control));
    let (one, two) = soon(async { tokio::join!(one, two) }).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.thread, two.thread);
    assert_ne!(one.replayed, two.replayed);
    assert_eq!(control.begun.load(Ordering::SeqCst), 2, "both began");
    assert_eq!(world.thread_count().await, 1, "and one remains");
}

/// Creates an agent once everybody is there.
struct CreateAgent {
    org: OrgId,
    together: Arc<Barrier>,
    runs: AtomicU32,
}

impl Command for CreateAgent {
    type Answer = Done<Agent>;

    async fn run(&self, tx: &mut Tx) -> Result<Done<Agent>> {
        if self.runs.fetch_add(1, Ordering::SeqCst) == 0 {
            self.together.wait().await;
        }
        let spec = AgentSpec { model: "m".into(), ..AgentSpec::default() };
        Ok(Done::quiet(agents::create(tx, self.org, agent_id(), "taken", &spec).await?))
    }
}

fn create_agent(world: &World, together: &Arc<Barrier>) -> Idempotent<CreateAgent, Agent, pb::CreateAgentResponse> {
    let request = pb::CreateAgentRequest { idempotency_key: "k".into(), name: "taken".into(), spec: None };
    let command = CreateAgent { org: world.admin.org, together: Arc::clone(together), runs: AtomicU32::new(0) };
    let encode = |agent: Agent| {
        let agent = pb::Agent { agent_id: agent.id.to_string(), ..pb::Agent::default() };
        pb::CreateAgentResponse { agent: Some(agent), replayed: false }
    };
    Idempotent::new(By::Member(world.admin), request, |_| Ok(command), encode).unwrap()
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_concurrent_duplicate_gets_that_ones_answer() {
    let (world, together) = (World::new().await, Arc::new(Barrier::new(2)));
    let one = world.commands.mutate(create_agent(&world, &together));
    let two = world.commands.mutate(create_agent(&world, &together));
    let (one, two) = soon(async { tokio::join!(one, two) }).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.agent, two.agent);
    assert_ne!(one.replayed, two.replayed);
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let (world, control) = (World::new().await, Control::default());
    control.refusals.store(1, Ordering::SeqCst);
    let refused = world.commands.mutate(create(world.admin, "k", "one", &control)).await;
    assert_eq!(reason(refused), Reason::NotFound);
    let done = world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    assert!(!done.replayed);
    assert_eq!(world.thread_count().await, 1);
}

#[tokio::test]
async fn the_look_up_comes_after_membership_and_before_the_fields() {
    let (world, control) = (World::new().await, Control::default());
    let malformed = |caller, key| world.commands.mutate(create(caller, key, "", &control));
    assert_eq!(reason(malformed(world.stranger(), "k").await), Reason::NotFound, "there is no such org for a stranger");
    assert_eq!(reason(malformed(world.admin, "k").await), Reason::InvalidField);
    world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    assert_eq!(reason(malformed(world.admin, "k").await), Reason::IdempotencyKeyReused, "the look-up found another body");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_half_do_a_command() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let control = Control { gate: Some(Arc::clone(&gate)), ..Control::default() };
    let mut call = Box::pin(world.commands.mutate(create(world.admin, "k", "one", &control)));
    let begun = until("the command has begun", || async { (control.begun.load(Ordering::SeqCst) == 1).then_some(()) });
    tokio::select! {
        answer = &mut call => panic!("it waits: {answer:?}"),
        () = begun => {}
    }
    drop(call);
    gate.add_permits(1);
    until("the thread is there", || async { (world.thread_count().await == 1).then_some(()) }).await;
    let again = world.commands.mutate(create(world.admin, "k", "one", &control)).await.unwrap();
    assert!(again.replayed, "its answer was kept, in the same transaction");
}
