//! The transition feed.

use crate::support::{World, eventually, ids, soon, transitions};
use runmesh_bus::{Bus, Consumer};
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Error, Fault};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

fn rows(ids: &RunIds, version: u64) -> Vec<Transition> {
    transitions(ids, version).into_iter().map(|(transition, _)| transition).collect()
}

/// Reads until `wanted` different transitions came; each run's must come in order once repeats are left out.
async fn read(consumer: &mut Consumer, wanted: usize) -> BTreeMap<String, Vec<u64>> {
    let (mut seen, mut by_run) = (HashSet::new(), BTreeMap::<String, Vec<u64>>::new());
    while seen.len() < wanted {
        let Ok(fed) = soon(consumer.next()).await else { continue };
        fed.ack().await.unwrap();
        if seen.insert((fed.event.run, fed.event.version)) {
            by_run.entry(fed.event.run.to_string()).or_default().push(fed.event.version);
        }
    }
    by_run
}

async fn publish_until_whole(bus: &Bus, ids: RunIds, rows: &[Transition]) {
    eventually("the feed holds all", || async { bus.feed().publish(ids, rows).await.ok() }).await;
}

#[tokio::test]
async fn two_publishers_of_the_same_rows_publish_each_once_and_in_order() {
    let world = World::start().await;
    let other = world.another().await;
    for _ in 0..10 {
        let ids = ids();
        let rows = rows(&ids, 6);
        tokio::join!(publish_until_whole(&world.bus, ids, &rows), publish_until_whole(&other, ids, &rows));
    }
    let mut consumer = world.bus.feed().consume("test").await.unwrap();
    let by_run = read(&mut consumer, 60).await;
    assert!(by_run.values().all(|versions| *versions == [1, 2, 3, 4, 5, 6]), "{by_run:?}");
    let more = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(more.is_err(), "a transition was stored twice: {more:?}");
}

#[tokio::test]
async fn a_transition_whose_predecessor_is_missing_waits() {
    let world = World::start().await;
    let ids = ids();
    let rows = rows(&ids, 3);
    let early = world.bus.feed().publish(ids, &rows[1..]).await;
    assert!(matches!(early, Err(Error::Fault(Fault::Unavailable { .. }))), "{early:?}");
    world.bus.feed().publish(ids, &rows).await.unwrap();
    let mut consumer = world.bus.feed().consume("test").await.unwrap();
    assert_eq!(read(&mut consumer, 3).await.into_values().next().unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn the_oldest_unmarked_row_goes_out_when_its_predecessors_have_aged_out() {
    let world = World::start().await;
    let ids = ids();
    world.bus.feed().publish_oldest(ids, &rows(&ids, 5)[3..]).await.unwrap();
    let mut consumer = world.bus.feed().consume("test").await.unwrap();
    assert_eq!(read(&mut consumer, 2).await.into_values().next().unwrap(), [4, 5]);
}

#[tokio::test]
async fn every_row_is_seen_once_over_a_restart_of_nats() {
    let world = World::start().await;
    let runs: Vec<_> = (0..5).map(|_| ids()).collect();
    let mut consumer = world.bus.feed().consume("test").await.unwrap();
    for ids in &runs {
        publish_until_whole(&world.bus, *ids, &rows(ids, 10)).await;
    }
    let mut seen = read(&mut consumer, 25).await;
    world.nats.kill().await.unwrap();
    let away = world.bus.feed().publish(runs[0], &rows(&runs[0], 20)).await;
    assert!(away.is_err(), "NATS is away");
    let restart = async { world.nats.restart().await.unwrap() };
    let publish = async {
        for ids in &runs {
            publish_until_whole(&world.bus, *ids, &rows(ids, 20)).await;
        }
    };
    tokio::join!(restart, publish);
    while seen.values().map(Vec::len).sum::<usize>() < 100 {
        let Ok(fed) = soon(consumer.next()).await else { continue };
        fed.ack().await.unwrap();
        let versions = seen.entry(fed.event.run.to_string()).or_default();
        if !versions.contains(&fed.event.version) {
            versions.push(fed.event.version);
        }
    }
    assert!(seen.values().all(|versions| versions.iter().copied().eq(1..=20)), "{seen:?}");
}

#[tokio::test]
async fn events_carry_what_was_committed() {
    let world = World::start().await;
    let ids = ids();
    let rows = rows(&ids, 2);
    world.bus.feed().publish(ids, &rows).await.unwrap();
    let mut consumer = world.bus.feed().consume("test").await.unwrap();
    soon(consumer.next()).await.unwrap().ack().await.unwrap();
    let claimed = soon(consumer.next()).await.unwrap().event;
    assert_eq!((claimed.run, claimed.user, claimed.agent, claimed.version), (ids.id, ids.user, ids.agent, 2));
    assert_eq!((claimed.session, claimed.cause, claimed.fence), (rows[1].session, Some(rows[1].cause), 1));
}
