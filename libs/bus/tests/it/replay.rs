//! Reading logs back.

use crate::support::{World, append, eventually, key, read_all, soon, words};
use runmesh_domain::chain::Chain;
use runmesh_domain::log::Tail;

#[tokio::test]
async fn ten_thousand_messages_come_back_as_they_went() {
    let world = World::start().await;
    let (key, other) = (key(), key());
    let (mut tail, mut noise, mut written) = (Tail::default(), Tail::default(), Vec::new());
    for number in 0..10_000 {
        tail = append(&world.bus, key, &tail, vec![words(number)]).await;
        written.push(words(number));
        if number % 100 == 0 {
            noise = append(&world.bus, other, &noise, vec![words(number)]).await;
        }
    }
    let batches = read_all(&world.bus, key).await;
    let read: Vec<_> = batches.iter().flat_map(|batch| batch.events.clone()).collect();
    assert!(read == written, "{} events of {}", read.len(), written.len());
    let chain = Chain::START.then_all(written.iter().map(Vec::as_slice));
    assert_eq!((batches.last().unwrap().tail.chain, tail.chain), (chain, chain));
}

#[tokio::test]
async fn large_batches_come_page_by_page() {
    let world = World::start().await;
    let key = key();
    let mut tail = Tail::default();
    for number in 0..20_u8 {
        tail = append(&world.bus, key, &tail, vec![vec![number; 200 << 10], vec![number; 200 << 10]]).await;
    }
    let batches = read_all(&world.bus, key).await;
    assert_eq!(batches.len(), 20);
    assert_eq!(batches.last().unwrap().tail, tail);
}

#[tokio::test]
async fn begins_where_it_is_told_and_goes_on_when_the_log_grows() {
    let world = World::start().await;
    let key = key();
    let first = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    let second = append(&world.bus, key, &first, vec![words(2)]).await;
    let mut replay = world.bus.log().replay(key, second.stream_seq, second.stream_seq);
    assert_eq!(soon(replay.next()).await.unwrap().unwrap().tail, second);
    assert_eq!(soon(replay.next()).await.unwrap(), None);
    let third = append(&world.bus, key, &second, vec![words(3)]).await;
    assert_eq!(soon(replay.next()).await.unwrap().unwrap().tail, third);
    assert_eq!(soon(replay.next()).await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_log_ends_at_once() {
    let world = World::start().await;
    assert_eq!(soon(world.bus.log().replay(key(), 0, 0).next()).await.unwrap(), None);
}

/// Somebody who does not take the page that was read holds up nobody, however many they are.
#[tokio::test]
async fn readers_that_stand_still_keep_nobody_from_reading() {
    let world = World::start().await;
    let key = key();
    let mut tail = Tail::default();
    for number in 0..40_u8 {
        tail = append(&world.bus, key, &tail, vec![vec![number; 10 << 10]]).await;
    }
    let mut still = Vec::new();
    for _ in 0..64 {
        let mut replay = world.bus.log().replay(key, 0, tail.stream_seq);
        soon(replay.next()).await.unwrap().unwrap();
        still.push(replay);
    }
    assert_eq!(soon(read_all(&world.bus, key)).await.len(), 40);
    for mut replay in still {
        assert_eq!(soon(replay.next()).await.unwrap().unwrap().first_seq, 2, "it goes on where it stood");
    }
}

/// The server stands still in the middle of a log: what was read is kept, and the rest follows.
#[tokio::test]
async fn a_reading_goes_on_where_a_silent_server_stopped_it() {
    let world = World::start().await;
    let key = key();
    let mut tail = Tail::default();
    for number in 0..20_u8 {
        tail = append(&world.bus, key, &tail, vec![vec![number; 40 << 10]]).await;
    }
    let mut replay = world.bus.log().replay(key, 0, tail.stream_seq);
    let mut read = vec![soon(replay.next()).await.unwrap().unwrap().first_seq];
    world.nats.kill().await.unwrap();
    let refused = loop {
        match replay.next().await {
            Ok(Some(batch)) => read.push(batch.first_seq),
            Ok(None) => panic!("the log ended at {read:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, runmesh_domain::Error::Fault(runmesh_domain::Fault::Unavailable { .. })), "{refused:?}");
    world.nats.restart().await.unwrap();
    eventually("replays work", || async { world.bus.is_up().then_some(()) }).await;
    let rest = async {
        loop {
            match replay.next().await {
                Ok(Some(batch)) => read.push(batch.first_seq),
                Ok(None) => break,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), rest).await.unwrap();
    assert_eq!(read, (1..=20).collect::<Vec<u64>>());
}
