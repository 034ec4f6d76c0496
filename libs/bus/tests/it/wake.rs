//! Wake-ups, hints, and what is checked at start.

use crate::support::{World, eventually, key, soon};
use futures::FutureExt as _;
use runmesh_bus::{Bus, BusConfig, CancelHint};
use runmesh_domain::id::{OrgId, RunId, SessionId};
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
async fn hints_of_a_thread_reach_who_waits_there_and_nobody_else() {
    let world = World::start().await;
    let other = world.another().await;
    let (mine, foreign) = (key(), key());
    // The server knows of the subscription when it is there: the very next hint comes.
    let mut hints = world.bus.thread_hints(mine.org, mine.thread).await.unwrap();
    let mut members = world.bus.member_hints().await.unwrap();
    world.bus.ping().await.unwrap();
    other.hint_thread(foreign.org, foreign.thread);
    other.hint_thread(mine.org, mine.thread);
    other.hint_members(foreign.org);
    assert_eq!(soon(hints.next()).await, Some(()));
    assert_eq!(soon(members.next()).await, Some(foreign.org));
    assert_eq!(hints.next().now_or_never(), None, "another thread's hint came, too");
}

#[tokio::test]
async fn hints_are_not_waited_for_while_the_server_is_away() {
    let world = World::start().await;
    let mine = key();
    world.nats.kill().await.unwrap();
    eventually("the loss is noticed", || async { (!world.bus.is_up()).then_some(()) }).await;
    let refused = world.bus.thread_hints(mine.org, mine.thread).await;
    assert!(matches!(refused, Err(Error::Fault(Fault::Unavailable { part: "nats", .. }))), "{refused:?}");
    world.nats.restart().await.unwrap();
    let mut hints = eventually("it is back", || async { world.bus.thread_hints(mine.org, mine.thread).await.ok() }).await;
    world.bus.hint_thread(mine.org, mine.thread);
    assert_eq!(soon(hints.next()).await, Some(()));
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
