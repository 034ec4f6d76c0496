//! Another server leads a stream: nothing that was learnt from the one before is believed in.

use crate::support::{World, append, eventually, ids, key, next_batch, read_all, soon, transitions, words};
use futures::StreamExt as _;
use runmesh_bus::{Bus, BusConfig, PublishOutcome, StreamChoices, StreamReport};
use runmesh_domain::log::Tail;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Error, Fault};
use runmesh_engines::{DataDir, NatsCluster, ServerOptions, Silent};

const ADVISORY: &str = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.RM_LOG";

/// A client beside the mesh's.
async fn client(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.unwrap()
}

/// Subscribes, and makes a round trip: the server knows of it then.
async fn subscribe(nats: &async_nats::Client, subject: &'static str) -> async_nats::Subscriber {
    let subscriber = nats.subscribe(subject).await.unwrap();
    nats.request("$JS.API.INFO", "".into()).await.unwrap();
    subscriber
}

#[tokio::test]
async fn a_publish_in_flight_ends_when_another_server_leads() {
    let world = World::start().await;
    let (nats, key) = (client(world.nats.url()).await, key());
    // The stream makes way for somebody who takes his time to answer.
    nats.request("$JS.API.STREAM.DELETE.RM_LOG", "".into()).await.unwrap();
    let mut taken = subscribe(&nats, "rm.log.>").await;
    let batch = next_batch(key, &Tail::default(), vec![words(1)]);
    let publishing = world.bus.log().publish(key, &batch, 0);
    let electing = async {
        let message = soon(taken.next()).await.unwrap();
        let mut losses = world.bus.losses();
        losses.mark_unchanged();
        nats.publish(ADVISORY, "{}".into()).await.unwrap();
        soon(losses.changed()).await.unwrap();
        nats.publish(message.reply.unwrap(), r#"{"stream":"RM_LOG","seq":7}"#.into()).await.unwrap();
        nats.flush().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(publishing, electing);
    assert_eq!(outcome.unwrap(), PublishOutcome::Unknown, "the old leader's ack was believed in");
}

/// A leader that was just elected answers before it has everything; a second later it has.
#[tokio::test]
async fn an_end_that_is_missing_is_asked_for_twice() {
    let world = World::start().await;
    let (nats, key) = (client(world.nats.url()).await, key());
    let first = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    let mut asked = subscribe(&nats, "$JS.API.STREAM.MSG.GET.RM_LOG").await;
    let late = async {
        soon(asked.next()).await.unwrap();
        append(&world.bus, key, &first, vec![words(2)]).await
    };
    let (tail, second) = tokio::join!(world.bus.log().tail_reaching(key, 2), late);
    assert_eq!(tail.unwrap(), second);
    assert_eq!(world.bus.log().tail_reaching(key, 3).await.unwrap(), second, "a loss is a loss in the end");
}

/// The feed loses its end, and grows to the same sequence with less in it. Whoever goes on from what it remembers leaves a
/// transition out.
#[tokio::test]
async fn the_feed_forgets_what_it_knew_when_another_server_leads() {
    let world = World::start().await;
    let (nats, other) = (client(world.nats.url()).await, world.another().await);
    let (mine, foreign) = (ids(), ids());
    let rows = |ids: &RunIds| -> Vec<Transition> { transitions(ids, 3).into_iter().map(|(transition, _)| transition).collect() };
    let (my_rows, foreign_rows) = (rows(&mine), rows(&foreign));
    world.bus.feed().publish(mine, &my_rows[..2]).await.unwrap();
    nats.request("$JS.API.STREAM.DELETE.RM_TRANSITIONS", "".into()).await.unwrap();
    other.ensure().await.unwrap();
    other.feed().publish(foreign, &foreign_rows[..1]).await.unwrap();
    other.feed().publish(mine, &my_rows[..1]).await.unwrap();

    let mut losses = world.bus.losses();
    losses.mark_unchanged();
    nats.publish(ADVISORY.replace("RM_LOG", "RM_TRANSITIONS"), "{}".into()).await.unwrap();
    soon(losses.changed()).await.unwrap();
    let gone_on = world.bus.feed().publish(mine, &my_rows[2..]).await;
    assert!(matches!(gone_on, Err(Error::Fault(Fault::Unavailable { .. }))), "transition 2 was left out: {gone_on:?}");
    world.bus.feed().publish(mine, &my_rows).await.unwrap();
}

async fn log_of(bus: &Bus) -> StreamReport {
    eventually("the log is led", || async { bus.streams().await.ok()?.into_iter().find(|stream| stream.name == "RM_LOG") }).await
}

async fn cluster() -> (NatsCluster, Bus) {
    let cluster = NatsCluster::start(&ServerOptions::new(DataDir::Ephemeral), 3, &Silent).await.unwrap();
    let choices: StreamChoices = serde_json::from_value(serde_json::json!({"replicas": 3})).unwrap();
    let bus = Bus::connect(BusConfig::new(cluster.url(), "test").choosing(&choices)).await.unwrap();
    eventually("the streams are made", || async { bus.ensure().await.ok() }).await;
    (cluster, bus)
}

#[tokio::test]
async fn a_leader_that_steps_down_is_a_loss_although_the_connection_stands() {
    let (cluster, bus) = cluster().await;
    let before = log_of(&bus).await;
    let (mut losses, mut reconnects) = (bus.losses(), bus.reconnects());
    losses.mark_unchanged();
    reconnects.mark_unchanged();
    client(cluster.servers()[0].url()).await.request("$JS.API.STREAM.LEADER.STEPDOWN.RM_LOG", "".into()).await.unwrap();
    soon(losses.changed()).await.unwrap();
    soon(reconnects.changed()).await.unwrap();
    assert!(bus.is_up());
    let after = log_of(&bus).await;
    assert_ne!(before.leader, after.leader);
    assert_eq!((after.replicas, after.differences), (3, Vec::new()));
}

#[tokio::test]
async fn the_log_goes_on_when_its_leader_is_killed() {
    let (cluster, bus) = cluster().await;
    let key = key();
    let (mut live, _) = bus.log().follow(key).await.unwrap();
    let first = append(&bus, key, &Tail::default(), vec![words(1)]).await;
    assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, first);
    let before = log_of(&bus).await;
    assert_eq!(before.replicas, 3);
    let leader = cluster.named(&before.leader).unwrap();
    leader.kill().await.unwrap();
    let tail = eventually("another one leads", || async { bus.log().tail(key).await.ok() }).await;
    assert_eq!(tail, first, "an acked batch is kept");
    let after = log_of(&bus).await;
    assert_ne!(before.leader, after.leader);
    let batch = next_batch(key, &tail, vec![words(2)]);
    let second = eventually("it takes batches", || async {
        match bus.log().publish(key, &batch, tail.stream_seq).await.ok()? {
            PublishOutcome::Stored { stream_seq } => Some(Tail { stream_seq, ..batch.tail }),
            PublishOutcome::Conflict | PublishOutcome::Unknown => {
                Some(bus.log().tail(key).await.ok()?).filter(|tail| tail.seq == 2)
            }
        }
    })
    .await;
    assert_eq!(bus.log().tail(key).await.unwrap(), second);
    leader.restart().await.unwrap();
    eventually("the killed one has everything", || async { (log_of(&bus).await.replicas_current == 3).then_some(()) }).await;
    eventually("replays work", || async { bus.is_up().then_some(()) }).await;
    assert_eq!(read_all(&bus, key).await.len(), 2);
}
