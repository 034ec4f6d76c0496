//! Reading logs back.

use crate::support::{World, append, key, read_all, soon, words};
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
