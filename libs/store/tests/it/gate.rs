//! The thread gate (R3): one turn at a time, in the order accepted.

use crate::fixture::{World, lease};
use futures::FutureExt as _;
use runmesh_domain::invariants;
use runmesh_domain::message::Role;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Cause;
use runmesh_store::runs::{self, FreeThreadsFrom, RunRow};

#[tokio::test]
async fn a_hundred_senders_make_a_hundred_turns_in_order() {
    let world = World::new().await;
    let thread = world.thread().await;
    let sends = (0..100).map(|n| {
        let world = world.clone();
        tokio::spawn(async move { world.send(thread, &format!("m{n}")).await })
    });
    let mut sent: Vec<_> = futures::future::join_all(sends).await.into_iter().map(|sent| sent.unwrap()).collect();
    sent.sort_by_key(|sent| sent.turn_number);
    assert!(sent.iter().zip(1..).all(|(sent, turn)| sent.turn_number == turn));
    assert_eq!(sent.iter().filter(|sent| sent.ready).count(), 1);

    let session = world.session().await;
    let mut intervals = Vec::new();
    for expected in &sent {
        let claimed = world.claim(session, 100).await;
        assert_eq!(claimed.len(), 1, "one turn at a time");
        let row = &claimed[0].row;
        assert_eq!(row.run.id, expected.run);
        let context = claimed[0].context.as_ref().unwrap();
        assert_eq!(context.messages.len() as u64, expected.turn_number * 2 - 1);
        assert_eq!(context.messages.last().unwrap().role, Role::User);
        let (ended, committed) = world.complete(lease(row), "answer").await;
        let promoted = committed.iter().filter(|one| one.transition.cause == Cause::Promoted).count();
        assert_eq!(promoted, usize::from(expected.turn_number < 100));
        intervals.push((row.run.turn_number, row.claimed_at.unwrap(), ended.ended_at.unwrap()));
    }
    assert_eq!(invariants::check_turns(&intervals), Ok(()));
    let messages = world.messages(thread).await;
    assert_eq!(messages.len(), 200);
    assert!(messages.windows(2).all(|pair| pair[0].role != pair[1].role));
}

#[tokio::test]
async fn a_canceled_turn_is_passed_over_and_leaves_the_conversation() {
    let world = World::new().await;
    let thread = world.thread().await;
    let first = world.send(thread, "1").await;
    let second = world.send(thread, "2").await;
    let third = world.send(thread, "3").await;
    let (row, committed) = world.cancel(second.run).await.unwrap();
    assert_eq!((row.run.state.name(), committed.len()), (StateName::Canceled, 1), "a queued run promotes nobody");
    let (_, committed) = world.cancel(first.run).await.unwrap();
    assert_eq!(committed[1].ids.id, third.run);
    assert_eq!(world.cancel(first.run).await.unwrap().1, vec![], "twice is once");

    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    let turns: Vec<u64> = claimed[0].context.as_ref().unwrap().messages.iter().map(|message| message.turn_number).collect();
    assert_eq!(turns, [1, 3], "a turn that never started has no place in it");
}

#[tokio::test]
async fn the_sweeper_finds_nothing_after_ends_and_repairs_a_free_thread() {
    let world = World::new().await;
    let thread = world.thread().await;
    let first = world.send(thread, "1").await;
    let second = world.send(thread, "2").await;
    let sweep =
        || world.system(|tx| async { Ok(runs::promote_free_threads(tx, FreeThreadsFrom::default(), 10).await?.0) }.boxed());
    assert_eq!(sweep().await.unwrap(), vec![]);
    // As if the end of the first had promoted nobody.
    let break_it = format!("UPDATE runs SET state = 'canceled', ended_at = clock_timestamp() WHERE id = '{}'", first.run.uuid());
    crate::server::execute(&world.url, &break_it).await;
    let repaired = sweep().await.unwrap();
    assert_eq!((repaired.len(), repaired[0].ids.id), (1, second.run));
    assert_eq!(world.state(second.run).await, StateName::Ready);
    assert_eq!(sweep().await.unwrap(), vec![]);
}

#[tokio::test]
async fn turns_are_found_in_their_order() {
    let world = World::new().await;
    let (org, thread) = (world.org, world.thread().await);
    let brief = |row: Option<RunRow>| row.map(|row| (row.run.id, row.run.turn_number, row.run.place));
    let next = |after| world.org_tx(move |tx| async move { runs::next_turn(tx, org, thread, after).await.map(brief) }.boxed());
    let current = || world.org_tx(move |tx| async move { runs::current_turn(tx, org, thread).await.map(brief) }.boxed());
    let newest = || world.org_tx(move |tx| async move { runs::newest_turns(tx, &[(org, thread)]).await }.boxed());
    assert_eq!((next(None).await, current().await), (Ok(None), Ok(None)));
    assert_eq!(newest().await.unwrap().get(&thread), Some(&None), "a thread without turns");
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(world.send(thread, "x").await.run);
    }
    let turn = |number: usize, place: u64| Ok(Some((runs[number - 1], number as u64, Some(place))));
    assert_eq!((next(None).await, next(Some(runs[0])).await, current().await), (turn(1, 1), Ok(None), turn(1, 1)));
    // A turn that is canceled before it starts has its place from then on, before the turn that starts later.
    world.cancel(runs[1]).await.unwrap();
    assert_eq!((next(Some(runs[0])).await, next(Some(runs[1])).await, current().await), (turn(2, 2), Ok(None), turn(1, 1)));
    let seen = newest().await.unwrap()[&thread].unwrap();
    assert_eq!((seen.run, seen.turn_number, seen.place, seen.place_before), (runs[1], 2, 2, 1));
    world.cancel(runs[0]).await.unwrap();
    assert_eq!(current().await, turn(3, 3), "the one that holds the thread now");
    assert_eq!((next(Some(runs[1])).await, next(Some(runs[2])).await), (turn(3, 3), Ok(None)));
    world.cancel(runs[2]).await.unwrap();
    assert_eq!(current().await, turn(3, 3), "the last one, which is over");
    let user = world.user;
    let other = world.other("two").await;
    let foreign = other.org;
    assert_eq!(
        world.system(move |tx| async move { runs::newest_turns(tx, &[(foreign, thread)]).await }.boxed()).await.unwrap().len(),
        0
    );
    world.org_tx(move |tx| runmesh_store::threads::delete(tx, org, user, thread).boxed()).await.unwrap();
    assert!(next(None).await.is_err() && current().await.is_err(), "a deleted thread has no turns");
    assert_eq!(newest().await.unwrap().len(), 0);
    assert!(other.org_tx(move |tx| runs::next_turn(tx, other.org, thread, None).boxed()).await.is_err());
}
