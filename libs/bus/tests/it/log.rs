//! Compare-and-set on the tail, and following live.

use crate::support::{World, append, key, next_batch, read_all, soon, words};
use runmesh_bus::PublishOutcome;
use runmesh_domain::log::Tail;

#[tokio::test]
async fn an_append_lands_only_on_the_tail_it_was_made_for() {
    let world = World::start().await;
    let key = key();
    assert_eq!(world.bus.log().tail(key).await.unwrap(), Tail::default());
    let first = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    assert_eq!(world.bus.log().tail(key).await.unwrap(), first);
    let stale = next_batch(key, &Tail::default(), vec![words(9)]);
    assert_eq!(world.bus.log().publish(key, &stale, 0).await.unwrap(), PublishOutcome::Conflict);
    assert_eq!(world.bus.log().tail(key).await.unwrap(), first);
    let second = append(&world.bus, key, &first, vec![words(2), words(3)]).await;
    assert_eq!((second.seq, second.number), (3, 3));
}

#[tokio::test]
async fn of_two_writers_on_one_tail_exactly_one_wins_every_round() {
    let world = World::start().await;
    let (other, key) = (world.another().await, key());
    let mut tail = Tail::default();
    for round in 0..100 {
        let (a, b) = (next_batch(key, &tail, vec![words(round)]), next_batch(key, &tail, vec![words(1_000 + round)]));
        let (a, b) =
            tokio::join!(world.bus.log().publish(key, &a, tail.stream_seq), other.log().publish(key, &b, tail.stream_seq));
        let stored = [a.unwrap(), b.unwrap()].iter().filter(|outcome| matches!(outcome, PublishOutcome::Stored { .. })).count();
        assert_eq!(stored, 1, "round {round}");
        tail = world.bus.log().tail(key).await.unwrap();
    }
    let batches = read_all(&world.bus, key).await;
    assert_eq!(batches.len(), 100);
    assert!(
        batches.windows(2).all(|pair| pair[0].tail.chain == pair[1].chain_before && pair[0].tail.seq + 1 == pair[1].first_seq)
    );
}

#[tokio::test]
async fn a_refused_append_is_never_seen_live() {
    let world = World::start().await;
    let key = key();
    let (mut live, last) = world.bus.log().follow(key).await.unwrap();
    assert_eq!(last, None);
    let first = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    let stale = next_batch(key, &Tail::default(), vec![words(9)]);
    assert_eq!(world.bus.log().publish(key, &stale, 0).await.unwrap(), PublishOutcome::Conflict);
    let second = append(&world.bus, key, &first, vec![words(2)]).await;
    assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, first);
    assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, second);
}

#[tokio::test]
async fn nothing_published_after_follow_returns_is_lost() {
    let world = World::start().await;
    let writer = world.another().await;
    for round in 0..100 {
        let key = key();
        let (mut live, last) = world.bus.log().follow(key).await.unwrap();
        assert_eq!(last, None);
        let tail = append(&writer, key, &Tail::default(), vec![words(round)]).await;
        assert_eq!(soon(live.next()).await.unwrap().unwrap().tail, tail, "round {round}");
    }
}

#[tokio::test]
async fn follow_gives_what_was_there_before() {
    let world = World::start().await;
    let key = key();
    let tail = append(&world.bus, key, &Tail::default(), vec![words(1)]).await;
    let (_live, last) = world.bus.log().follow(key).await.unwrap();
    assert_eq!(last.unwrap().tail, tail);
}
