//! Transitions on their way out.

use crate::fixture::{World, lease};
use futures::FutureExt as _;
use runmesh_domain::id::RunId;
use runmesh_domain::transition::Transition;
use runmesh_store::{outbox, runs};

async fn unfed(world: &World) -> Vec<Transition> {
    let rows = world.system(|tx| outbox::unfed(tx, 100).boxed()).await.unwrap();
    rows.into_iter().map(|(_, transition)| transition).collect()
}

async fn unlogged(world: &World) -> Vec<RunId> {
    let rows = world.system(|tx| outbox::unlogged(tx, 0, 100).boxed()).await.unwrap();
    rows.into_iter().map(|(ids, _)| ids.id).collect()
}

#[tokio::test]
async fn what_was_committed_is_what_is_read_back() {
    let world = World::new().await;
    let thread = world.thread().await;
    let sent = world.send(thread, "x").await;
    let claimed = world.claim(world.session().await, 1).await;
    let (_, ended) = world.complete(lease(&claimed[0].row), "done").await;
    let told: Vec<_> = [&claimed[0].committed, &ended].into_iter().flatten().cloned().collect();
    let transitions: Vec<Transition> = told.iter().map(|one| one.transition.clone()).collect();
    assert_eq!(unfed(&world).await, transitions);
    let run = sent.run;
    let (_, ids, rows) = world.system(move |tx| runs::catch_up_rows(tx, run, 1).boxed()).await.unwrap();
    assert_eq!(ids, told[0].ids);
    let unmarked: Vec<_> = transitions[1..].iter().map(|transition| (transition.clone(), false)).collect();
    assert_eq!(rows, unmarked);
    let states = world.system(move |tx| async move { runs::states_of(tx, &[run]).await }.boxed()).await.unwrap();
    assert_eq!(states, [(run, transitions[2].to, 3)]);
}

#[tokio::test]
async fn marks_go_up_to_a_version_and_no_further() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    assert_eq!(unlogged(&world).await, [], "a run that waits has nothing to show");
    world.claim(world.session().await, 1).await;
    let run = sent.run;
    assert_eq!(unlogged(&world).await, [run]);
    let mark = |logged: Vec<(RunId, u64)>, fed: Vec<(RunId, u64)>| {
        world.system(move |tx| {
            let (logged, fed) = (logged.clone(), fed.clone());
            async move { outbox::mark(tx, &logged, &fed).await }.boxed()
        })
    };
    mark(vec![(run, 1)], vec![(run, 2)]).await.unwrap();
    let rows = world.system(move |tx| outbox::rows_for(tx, run, 0).boxed()).await.unwrap();
    assert_eq!(rows.iter().map(|(_, logged)| *logged).collect::<Vec<_>>(), [true, false]);
    assert_eq!(unlogged(&world).await, [run]);
    assert_eq!(unfed(&world).await, []);
    mark(vec![(run, 2)], vec![]).await.unwrap();
    assert_eq!(unlogged(&world).await, []);
}
