//! Bringing logs up, by one and by many at once.

use crate::support::{World, append, ids, known, read_all, shown, transitions, words};
use runmesh_bus::{Batch, CaughtUp, PublishOutcome, RunKey};
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::log::{Lacks, MayAppend, Position, Tail};
use runmesh_domain::{Error, Fault};
use std::sync::Arc;
use tokio::task::JoinSet;

fn fences(events: &[Event]) -> Vec<u64> {
    let started = events.iter().filter_map(|event| match event {
        Event::AttemptStarted { fence, .. } => Some(*fence),
        _ => None,
    });
    started.collect()
}

#[tokio::test]
async fn a_fresh_run_needs_no_read_and_opens_its_attempt() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = transitions(&ids, 2);
    let tail = world.bus.log().catch_up(ids, &known(Position::default(), &rows)).await.unwrap();
    assert_eq!((tail.version, tail.fence, tail.seq, tail.may_append(1)), (2, 1, 1, MayAppend::Yes));
    assert_eq!(world.bus.log().tail(key).await.unwrap(), tail);
    assert_eq!(world.bus.log().catch_up(ids, &known(Position::default(), &rows)).await.unwrap(), tail);
}

#[tokio::test]
async fn many_at_once_write_every_transition_once() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = Arc::new(transitions(&ids, 12));
    let mut tasks = JoinSet::new();
    for task in 0..24_usize {
        let (bus, rows) = (world.bus.clone(), Arc::clone(&rows));
        // Each knows a different part of the run, as replicas do.
        let some = task % 12 + 1;
        tasks.spawn(async move { bus.log().try_catch_up(key, &known(Position::default(), &rows[..some]), None).await.unwrap() });
    }
    while let Some(caught) = tasks.join_next().await {
        assert!(matches!(caught.unwrap(), CaughtUp::Yes(_)));
    }
    let batches = read_all(&world.bus, key).await;
    assert_eq!(fences(&shown(&batches)), [1, 3, 5, 7, 9, 11]);
    assert_eq!(batches.last().unwrap().tail.version, 12);
    assert!(batches.windows(2).all(|pair| pair[0].tail.version < pair[1].tail.version));
}

#[tokio::test]
async fn a_hole_is_told_and_nothing_is_written() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = transitions(&ids, 4);
    let caught = world.bus.log().try_catch_up(key, &known(Position::default(), &rows[2..]), Some(Tail::default())).await.unwrap();
    assert_eq!(caught, CaughtUp::Lacks(Lacks::Transition { wanted: 1 }));
    let refused = world.bus.log().catch_up(ids, &known(Position::default(), &rows[2..])).await;
    assert!(matches!(refused, Err(Error::Fault(Fault::Unavailable { .. }))), "{refused:?}");
    assert_eq!(world.bus.log().tail(key).await.unwrap(), Tail::default());
}

#[tokio::test]
async fn a_wrong_belief_about_the_tail_does_no_harm() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = transitions(&ids, 4);
    world.bus.log().try_catch_up(key, &known(Position::default(), &rows[..2]), None).await.unwrap();
    let caught = world.bus.log().try_catch_up(key, &known(Position::default(), &rows), Some(Tail::default())).await.unwrap();
    assert!(matches!(caught, CaughtUp::Yes(tail) if tail.version == 4));
    assert_eq!(fences(&shown(&read_all(&world.bus, key).await)), [1, 3]);
}

#[tokio::test]
async fn an_append_whose_ack_was_lost_is_recognised_and_not_repeated() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = transitions(&ids, 2);
    // The batch lands, and its writer never hears of it.
    let plan = runmesh_domain::log::catch_up(&Tail::default(), &known(Position::default(), &rows)).unwrap().unwrap();
    let event = runmesh_wire::convert::event::of_transition(&rows[1].0).remove(0);
    let event: runmesh_wire::pb::stream::RunEvent = runmesh_wire::IntoWire::into_wire(event);
    let landed = Batch::after(key.run, plan.header, vec![prost::Message::encode_to_vec(&event).into()]);
    assert!(matches!(world.bus.log().publish(key, &landed, 0).await.unwrap(), PublishOutcome::Stored { .. }));
    // It tries again from what it believes, and again from what it reads.
    for believed in [Some(Tail::default()), None] {
        let caught = world.bus.log().try_catch_up(key, &known(Position::default(), &rows), believed).await.unwrap();
        assert!(matches!(caught, CaughtUp::Yes(tail) if tail.version == 2 && tail.seq == 1));
    }
    assert_eq!(read_all(&world.bus, key).await.len(), 1);
}

#[tokio::test]
async fn a_log_that_lost_its_events_goes_on_from_the_position() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let mut rows = transitions(&ids, 3);
    rows[..2].iter_mut().for_each(|row| row.1 = true);
    let position = Position { seq: 40, chain: Chain(7) };
    world.bus.log().try_catch_up(key, &known(position, &rows), None).await.unwrap();
    let batches = read_all(&world.bus, key).await;
    assert_eq!((batches[0].first_seq, batches[0].chain_before), (41, Chain(7)));
    assert!(matches!(shown(&batches)[..], [Event::LogRestarted { .. }]));
}

#[tokio::test]
async fn appends_and_transitions_share_one_tail() {
    let world = World::start().await;
    let ids = ids();
    let key = RunKey::from(ids);
    let rows = transitions(&ids, 3);
    world.bus.log().try_catch_up(key, &known(Position::default(), &rows[..2]), None).await.unwrap();
    let open = world.bus.log().tail(key).await.unwrap();
    append(&world.bus, key, &open, vec![words(1), words(2)]).await;
    // The lease is lost: the attempt's end goes in whatever its words did, and closes it.
    let caught = world.bus.log().try_catch_up(key, &known(Position::default(), &rows), Some(open)).await.unwrap();
    let CaughtUp::Yes(tail) = caught else { panic!("{caught:?}") };
    assert_eq!((tail.seq, tail.version, tail.may_append(1)), (3, 3, MayAppend::Fenced));
}
