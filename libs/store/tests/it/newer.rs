//! Rows that a newer version wrote: read as far as they can be, never as a permission, and never at the cost of the rows beside.

use crate::fixture::{World, dispatched, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::RunId;
use runmesh_domain::policy::Verdict;
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Refusal};
use runmesh_store::{PageRequest, agents, outbox, runs, steps};

const NEWER_SPEC: &str = r#"jsonb_set(jsonb_set(spec, '{newer}', '{"a": 1}'), '{limits,newer}', '2')"#;

#[tokio::test]
async fn a_definition_with_fields_of_a_newer_version_is_listed_sent_to_and_claimed() {
    let world = World::new().await;
    server::execute(&world.url, &format!("UPDATE agents SET spec = {NEWER_SPEC}")).await;
    let org = world.org;
    let listed = world.org_tx(move |tx| async move { agents::list(tx, org, &PageRequest::first()).await }.boxed()).await;
    assert!(!listed.unwrap().items.is_empty());
    let sent = world.send(world.thread().await, "x").await;
    let kept = "SELECT spec #>> '{agent,newer,a}' FROM run_specs";
    assert_eq!(server::value::<String>(&world.url, kept).await, "1", "the frozen spec keeps what this version does not know");
    server::execute(&world.url, r#"UPDATE run_specs SET spec = jsonb_set(jsonb_set(spec, '{newer}', '1'), '{agent,tools,0}', spec #> '{agent,tools,0}' || '{"newer": 1}')"#).await;
    let claimed = world.claim(world.session().await, 5).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].row.run.id, sent.run);
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_hides_no_other() {
    let world = World::new().await;
    let org = world.org;
    let list = || world.org_tx(move |tx| async move { agents::list(tx, org, &PageRequest::first()).await }.boxed());
    let before = list().await.unwrap().items.len();
    let other = runmesh_domain::id::AgentId::derived(&[b"other"]);
    let made =
        world.org_tx(move |tx| async move { agents::create(tx, org, other, "other", &crate::fixture::spec()).await }.boxed());
    made.await.unwrap();
    let broken = format!(r#"UPDATE agents SET spec = '"not an object"' WHERE id = '{}'"#, other.uuid());
    server::execute(&world.url, &broken).await;
    assert_eq!(list().await.unwrap().items.len(), before, "all but the broken one");
}

#[tokio::test]
async fn a_verdict_of_a_newer_version_is_a_no() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    world.record(lease, vec![model_step(1, "", &["write"])]).await.unwrap();
    server::execute(&world.url, r#"UPDATE calls SET verdict = '{"v": 9, "decision": "ask"}'"#).await;
    let run = lease.run;
    let steps = world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap();
    assert!(matches!(steps[0].calls[0].verdict, Verdict::Deny { .. }), "{steps:?}");
    let answer = world.record(lease, vec![dispatched(1, 0)]).await;
    assert!(matches!(answer, Err(Error::Refused(Refusal::CallNotAllowed { .. }))), "{answer:?}");
}

/// The run's second transition, as a newer version would have written it.
async fn make_newer(world: &World, run: RunId, change: &str) {
    let update = format!("UPDATE run_transitions SET {change} WHERE run_id = '{}' AND version = 2", run.uuid());
    server::execute(&world.url, &update).await;
}

#[tokio::test]
async fn a_transition_of_a_newer_version_holds_up_nobody_elses() {
    let newer = ["cause = 'steered'", r#"record = '{"v": 2, "type": "steered"}'"#];
    for change in newer {
        let world = World::new().await;
        let (session, thread) = (world.session().await, world.thread().await);
        let lease = world.running_on(session, thread).await;
        world.complete(lease, "done").await;
        let other = world.send(world.thread().await, "y").await;
        make_newer(&world, lease.run, change).await;
        let fed = world.system(|tx| outbox::unfed(tx, outbox::Slice::whole(), 100).boxed()).await.unwrap().items;
        assert!(fed.iter().any(|(ids, _)| ids.id == other.run), "{change}: the other run is fed");
        let run = lease.run;
        let for_log = world.system(move |tx| runs::log_rows(tx, run, 0, false).boxed()).await.unwrap().transitions;
        let versions: Vec<_> = for_log.iter().map(|(transition, _)| transition.version).collect();
        assert_eq!(versions, [1], "{change}: nothing enters the log before what the newer version has to say");
        let org = world.org;
        let history =
            world.org_tx(move |tx| async move { steps::history(tx, org, run, &PageRequest::first(), true).await }.boxed());
        let states: Vec<_> = history.await.unwrap().transitions.iter().map(|one| one.to).collect();
        assert_eq!(states, [StateName::Ready, StateName::Completed], "{change}: people see the rest");
        assert_eq!(world.org_tx(move |tx| runs::get(tx, org, run).boxed()).await.unwrap().run.state.name(), StateName::Completed);
    }
}
