//! NATS goes away and comes back.

use crate::support::{World, append, eventually, ids, key, known, read_all, soon, transitions, words};
use runmesh_bus::RunKey;
use runmesh_domain::log::{Position, Tail};
use runmesh_domain::{Error, Fault};

#[tokio::test]
async fn the_log_is_kept_and_clients_come_back() {
    let world = World::start().await;
    let key = key();
    let (mut live, _) = world.bus.log().follow(key).await.unwrap();
    let first = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, first);
    let (losses, mut made) = (world.bus.losses(), world.bus.reconnects());
    world.nats.kill().await.unwrap();
    eventually("the loss is noticed", || async { (!world.bus.is_up()).then_some(()) }).await;
    let away = world.bus.log().tail(key).await;
    assert!(matches!(away, Err(Error::Fault(Fault::Unavailable { part: "nats", .. }))), "{away:?}");
    world.nats.restart().await.unwrap();
    soon(made.changed()).await.unwrap();
    assert!(losses.has_changed().unwrap(), "a loss is counted before the connection is made again");
    let tail = eventually("the log answers", || async { world.bus.log().tail(key).await.ok() }).await;
    assert_eq!(tail, first);
    let second = append(&world.bus, key, &tail, vec![words(2)]).await;
    assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, second);
    eventually("replays work", || async { world.bus.is_up().then_some(()) }).await;
    assert_eq!(read_all(&world.bus, key).await.len(), 2);
}

#[tokio::test]
async fn a_log_is_brought_up_across_a_restart() {
    let world = World::start().await;
    let ids = ids();
    let rows = transitions(&ids, 8);
    world.bus.log().catch_up(ids, &known(Position::default(), &rows[..3])).await.unwrap();
    world.nats.kill().await.unwrap();
    let away = world.bus.log().catch_up(ids, &known(Position::default(), &rows[..4])).await;
    assert!(matches!(away, Err(Error::Fault(Fault::Unavailable { .. }))), "{away:?}");
    let restart = async { world.nats.restart().await.unwrap() };
    let catching = async {
        let (bus, rows) = (&world.bus, &rows);
        eventually("caught up", || async move { bus.log().catch_up(ids, &known(Position::default(), rows)).await.ok() }).await
    };
    let ((), tail) = tokio::join!(restart, catching);
    assert_eq!(tail.version, 8);
    eventually("replays work", || async { world.bus.is_up().then_some(()) }).await;
    let batches = read_all(&world.bus, RunKey::from(ids)).await;
    assert_eq!(batches.last().unwrap().tail.version, 8);
    assert!(batches.windows(2).all(|pair| pair[0].tail.chain == pair[1].chain_before));
}
