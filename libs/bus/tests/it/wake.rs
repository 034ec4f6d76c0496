//! Wake-ups, hints, and what is checked at start.

use crate::support::{World, append, eventually, key, soon, words};
use futures::FutureExt as _;
use runmesh_bus::{Bus, BusConfig, CancelHint, RunKey};
use runmesh_domain::id::{OrgId, RunId, SessionId};
use runmesh_domain::log::Tail;
use runmesh_domain::{Error, Fault};
use uuid::Uuid;

#[tokio::test]
async fn wake_ups_and_hints_reach_who_listens() {
    let world = World::start().await;
    let other = world.another().await;
    let (org, run, session) = (OrgId::of_name("a"), RunId::from_uuid(Uuid::now_v7()), SessionId::from_uuid(Uuid::now_v7()));
    let mut wakes = world.bus.wakes().await.unwrap();
    let mut hints = world.bus.cancel_hints().await.unwrap();
    world.bus.ping().await.unwrap();
    other.wake(org);
    other.hint_cancel(run, 3, session);
    assert_eq!(soon(wakes.next()).await, Some(org));
    assert_eq!(soon(hints.next()).await, Some(CancelHint { run, fence: 3, session }));
}

#[tokio::test]
async fn what_is_written_on_a_thread_is_heard_and_nothing_else_is() {
    let world = World::start().await;
    let (mine, other) = (key(), key());
    let sibling = RunKey { run: RunId::from_uuid(Uuid::now_v7()), ..mine };
    let mut activity = world.bus.thread_activity(mine.org, mine.thread).await.unwrap();
    world.bus.ping().await.unwrap();
    for key in [other, mine, sibling] {
        append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    }
    for _ in [mine, sibling] {
        assert_eq!(soon(activity.next()).await, Some(()));
    }
    assert_eq!(activity.next().now_or_never(), None, "the other thread was heard too");
}

#[tokio::test]
async fn ensuring_twice_and_at_once_changes_nothing() {
    let world = World::start().await;
    let other = world.another().await;
    let (a, b) = tokio::join!(world.bus.ensure(), other.ensure());
    a.unwrap();
    b.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let refused = Bus::connect(BusConfig::new("nats://127.0.0.1:1", "test")).await;
    assert!(matches!(refused, Err(Error::Fault(Fault::Unavailable { part: "nats", .. }))), "{refused:?}");
}

#[tokio::test]
async fn hints_without_a_server_are_dropped_at_once() {
    let world = World::start().await;
    world.nats.kill().await.unwrap();
    eventually("the loss is noticed", || async { (!world.bus.is_up()).then_some(()) }).await;
    world.bus.wake(OrgId::of_name("a"));
    let mut wakes = world.bus.wakes().await.unwrap();
    world.nats.restart().await.unwrap();
    eventually("it is back", || async { world.bus.ping().await.ok() }).await;
    world.bus.wake(OrgId::of_name("b"));
    assert_eq!(soon(wakes.next()).await, Some(OrgId::of_name("b")));
}
