//! A relay that drains while its viewers are in the middle of something: each of them gets the end, with a cursor to go on from.

use crate::client::{LIVE, START, Seen, cursor, step_started, text};
use crate::postgres::Port;
use crate::proxy::Proxy;
use crate::world::{Relay, World, eventually, serve, soon};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::RunId;
use runmesh_domain::principal::LeaseClaim;
use runmesh_stream_relay::Config;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_thread_request::From as FromOfThread;
use runmesh_wire::pb::stream::attach_thread_response::Frame;
use uuid::Uuid;

/// More than a client takes of what it does not read.
const MESSAGES: u64 = 40;
const MESSAGE_BYTES: usize = 200 << 10;

/// An attempt whose log is long.
async fn long_log(world: &World, relay: &Relay) -> (RunId, LeaseClaim) {
    let run = world.send().await;
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for _ in 0..MESSAGES {
        appender.send(vec![text(1, "x".repeat(MESSAGE_BYTES))]).await;
        appender.settled().await;
    }
    (run, lease)
}

fn why(seen: &Seen) -> pb::end::Reason {
    seen.end.as_ref().unwrap().reason()
}

#[tokio::test]
async fn a_viewer_far_behind_gets_its_end_in_the_middle_of_a_replay() {
    let world = World::new().await;
    let (old, new, who) = (world.relay().await, world.relay().await, world.person());
    let (run, lease) = long_log(&world, &new).await;
    let mut viewer = old.client.attach(&who, run, START).await;
    viewer.until(|seen| seen.view.seq > 1).await;
    // It has begun, and what it does not read holds up the rest.
    old.life.stop();
    let seen = viewer.to_end().await;
    let all = MESSAGES + 2;
    assert_eq!(why(&seen), pb::end::Reason::Draining);
    assert!(seen.view.seq < all, "the replay went on to its end");
    assert_eq!(seen.cursor.parse::<Cursor>().unwrap().seq, seen.view.seq, "the cursor covers what was sent, and no more");
    world.finish(lease, "whole", None).await;
    let seen = new.client.attach(&who, run, cursor(&seen.cursor)).await.going_on(seen).to_end().await;
    assert_eq!((seen.events.len() as u64, seen.resets.len(), why(&seen)), (all + 2, 0, pb::end::Reason::Finished));
}

#[tokio::test]
async fn so_does_a_viewer_of_a_thread_who_catches_up_with_many_turns() {
    const TURNS: usize = 12;
    let world = World::new().await;
    let (old, new, who) = (world.relay().await, world.relay().await, world.person());
    let words = "x".repeat(MESSAGE_BYTES);
    for _ in 0..TURNS {
        world.send().await;
        let lease = world.claim().await;
        let (mut appender, _) = new.client.append(lease).await;
        appender.send(vec![step_started(1), text(1, words.clone())]).await;
        appender.settled().await;
        world.finish(lease, &words, None).await;
    }
    let from = |cursor: Cursor| Some(FromOfThread::Cursor(cursor.to_string()));
    let thread = world.thread.to_string();
    let first = Cursor::start(world.thread, RunId::from_uuid(Uuid::nil()));
    let mut frames = old.client.attach_thread(&who, &thread, from(first)).await.unwrap();
    let (mut turns, mut end) = (0, None);
    while let Some(response) = soon(frames.message()).await.unwrap() {
        match response.frame.unwrap() {
            Frame::Turn(_) => {
                turns += 1;
                old.life.stop();
            }
            Frame::End(last) => end = Some(last),
            _ => {}
        }
    }
    let end = end.unwrap();
    assert_eq!(end.reason(), pb::end::Reason::Draining);
    assert!((1..TURNS).contains(&turns), "{turns} turns of {TURNS} were shown before the end");
    let mut frames = new.client.attach_thread(&who, &thread, from(end.cursor.parse().unwrap())).await.unwrap();
    // The turn in which it ended is gone on with; between turns, it is the next one.
    let mut finished = 0;
    while turns < TURNS || finished == 0 {
        match soon(frames.message()).await.unwrap().unwrap().frame.unwrap() {
            Frame::Turn(turn) if turn.cursor != end.cursor => turns += 1,
            Frame::Events(events) => finished = events.first_seq,
            Frame::End(end) => panic!("{end:?}"),
            _ => {}
        }
    }
    assert_eq!(turns, TURNS);
}

#[tokio::test]
async fn a_viewer_that_has_not_begun_is_sent_back_to_where_it_stood() {
    let world = World::new().await;
    let other = world.relay().await;
    let run = world.send().await;
    let lease = world.claim().await;
    let (mut appender, _) = other.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    let at = appender.settled().await.position.unwrap();
    let port = Port::before(world.postgres_url(), Some(std::time::Duration::from_millis(300))).await;
    let relay = serve(Config { postgres_url: port.url.clone().into(), ..world.config().await }).await;
    let at = Cursor::start(world.thread, run).at(at.seq.try_into().unwrap(), runmesh_domain::chain::Chain(at.chain));
    let (statements, who) = (port.statements(), world.person());
    let attached = relay.client.attach(&who, run, cursor(&at.to_string()));
    let drained = async {
        let is_asking = || async { (port.statements() > statements).then_some(()) };
        eventually("the attach is at Postgres", is_asking).await;
        relay.life.stop();
    };
    let (viewer, ()) = futures::join!(attached, drained);
    let seen = viewer.to_end().await;
    assert_eq!((why(&seen), seen.cursor.parse()), (pb::end::Reason::Draining, Ok(at)));
}

#[tokio::test]
async fn a_viewer_that_waits_to_begin_live_has_no_cursor_to_go_on_from() {
    let world = World::new().await;
    let config = world.config().await;
    let proxy = Proxy::before(&config.nats_url).await;
    let relay = serve(Config { nats_url: format!("nats://{}", proxy.address), ..config }).await;
    let run = world.send().await;
    proxy.cut();
    let mut viewer = relay.client.attach(&world.person(), run, LIVE).await;
    viewer.until(|seen| seen.statuses.iter().any(|status| status.log_unavailable)).await;
    relay.life.stop();
    let seen = viewer.to_end().await;
    assert_eq!((why(&seen), seen.cursor.as_str()), (pb::end::Reason::Draining, ""), "everything so far is not what it asked for");
}
