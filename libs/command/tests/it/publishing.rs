//! What follows a commit.

use crate::world::{World, soon, until};
use futures::FutureExt as _;
use runmesh_bus::CancelHint;
use runmesh_command::AfterCommit;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::run::StateName;
use runmesh_domain::transition::{Cause, Transition};
use runmesh_store::runs::Committed;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn a_commit_is_published_in_log_and_feed_and_marked() {
    let world = World::new().await;
    let mut wakes = world.bus.wakes().await.unwrap();
    world.bus.ping().await.unwrap();
    let accepted = world.accept().await;
    let key = runmesh_bus::RunKey::from(accepted.committed[0].ids);
    world.publisher.publish(AfterCommit::of(accepted.committed.clone()));
    assert!(world.work.take_work(), "who claims here is woken at once");
    soon(async { while wakes.next().await != Some(world.admin.org) {} }).await;

    let claimed = world.claim().await.pop().unwrap();
    let version = claimed.row.run.version;
    assert_eq!(claimed.committed.len(), 2, "the claim brings what its log lacks");
    world.publisher.publish(AfterCommit::of(claimed.committed));
    assert!(!world.work.take_work(), "nobody is needed for a run that is claimed");
    until("the log holds the claim", || async { (world.bus.log().tail(key).await.unwrap().version == version).then_some(()) })
        .await;
    assert_eq!(world.unfed().await, [accepted.run], "not marked while nobody writes marks");
    world.write_marks();
    until("everything is marked", || async {
        (world.unfed().await.is_empty() && world.unlogged().await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_waits_at_a_thread_gets_a_hint_of_its_next_turn_and_of_its_end() {
    let world = World::new().await;
    let accepted = world.accept().await;
    let (org, thread) = (world.admin.org, accepted.committed[0].ids.thread);
    let mut hints = world.bus.thread_hints(org, thread).await.unwrap();
    let mut members = world.bus.member_hints().await.unwrap();
    world.bus.ping().await.unwrap();
    // A turn that starts; also by another replica, when its own did not publish it.
    world.publisher.publish(AfterCommit::of(accepted.committed.clone()));
    soon(hints.next()).await.unwrap();
    let (ids, transition) = (accepted.committed[0].ids, accepted.committed[0].transition.clone());
    assert_eq!(transition.to, StateName::Ready);
    world.publisher.publish_left_over(Duration::ZERO).await.unwrap();
    soon(hints.next()).await.unwrap();
    // The round trip brings what else is under way: a run that is found twice is hinted at twice.
    world.bus.ping().await.unwrap();
    while hints.next().now_or_never().is_some() {}
    // A turn that only waits in the queue has no place yet; its promotion gives it one.
    let queued =
        Committed { transition: Transition { to: StateName::Queued, ..transition.clone() }, ..accepted.committed[0].clone() };
    world.publisher.publish(AfterCommit::of(vec![queued]));
    world.bus.ping().await.unwrap();
    assert_eq!(hints.next().now_or_never(), None, "nothing to show");
    let promoted = Transition { from: Some(StateName::Queued), version: 2, cause: Cause::Promoted, ..transition };
    world.publisher.publish(AfterCommit::of(vec![Committed { ids, transition: promoted, ..accepted.committed[0].clone() }]));
    soon(hints.next()).await.unwrap();
    world.publisher.publish(AfterCommit::default().deleted(org, thread));
    soon(hints.next()).await.unwrap();
    world.publisher.publish(AfterCommit::lost_members(org));
    soon(async { while members.next().await != Some(org) {} }).await;
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_left_to_the_sweeper() {
    let world = World::with_publisher(|publisher| publisher.with_publishing_max(1)).await;
    let (one, two) = (world.accept().await, world.accept().await);
    let claimed = world.claim().await;
    assert_eq!(claimed.len(), 2);
    world.write_marks();
    // Of two runs at once, one has the only permit.
    world.publisher.publish(AfterCommit::of(claimed.into_iter().flat_map(|claimed| claimed.committed).collect()));
    let (first, second) = (one.run.min(two.run), one.run.max(two.run));
    until("the first run is published", || async { (world.unfed().await == [second]).then_some(()) }).await;
    until("in its log, too", || async { (world.unlogged().await == [second]).then_some(()) }).await;
    assert_ne!(first, second);

    until("the sweeper publishes the rest", || async {
        world.publisher.publish_left_over(Duration::ZERO).await.unwrap();
        (world.unfed().await.is_empty() && world.unlogged().await.is_empty()).then_some(())
    })
    .await;
    let key = runmesh_bus::RunKey::from(one.committed[0].ids);
    assert_eq!(world.bus.log().tail(key).await.unwrap().version, 2);
}

#[tokio::test]
async fn holders_get_cancel_hints_of_what_was_committed() {
    let world = World::new().await;
    let mut hints = world.bus.cancel_hints().await.unwrap();
    world.bus.ping().await.unwrap();
    let hint = CancelHint { run: RunId::from_uuid(Uuid::now_v7()), fence: 3, session: SessionId::from_uuid(Uuid::now_v7()) };
    world.publisher.publish(AfterCommit { cancel_hints: vec![hint], ..AfterCommit::default() });
    soon(async { while hints.next().await != Some(hint) {} }).await;
}
