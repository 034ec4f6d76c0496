//! Threads that are followed and idle: what they cost, and how their next turn is noticed.

use crate::client::Seen;
use crate::postgres::Port;
use crate::proxy::Proxy;
use crate::world::{Relay, World, eventually, serve, soon};
use runmesh_domain::id::{RunId, UserId};
use runmesh_domain::principal::Principal;
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use runmesh_store::{orgs, runs, threads};
use runmesh_stream_relay::Config;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_thread_response::Frame;
use std::time::{Duration, Instant};
use tonic::Streaming;

/// No test lasts so long: what comes, comes by a hint.
const NO_LOOKS: u64 = 3_600_000;
/// Longer than any look waits for the next one in a test that has no hints.
const LOOKS: u64 = 400;
const VIEWERS: usize = 50;

type Frames = Streaming<pb::AttachThreadResponse>;

async fn relay(world: &World, thread_look_ms: u64) -> Relay {
    serve(Config { thread_look_ms, ..world.config().await }).await
}

/// Attaches to the thread of the world, which is idle.
async fn attach(relay: &Relay, world: &World, who: &Principal) -> Frames {
    let mut frames = relay.client.attach_thread(who, &world.thread.to_string(), None).await.unwrap();
    match frame(&mut frames).await {
        Frame::Progress(_) => frames,
        other => panic!("the thread is not idle: {other:?}"),
    }
}

async fn frame(frames: &mut Frames) -> Frame {
    soon(frames.message()).await.unwrap().unwrap().frame.unwrap()
}

async fn turn(frames: &mut Frames) -> String {
    match frame(frames).await {
        Frame::Turn(turn) => turn.run_id,
        other => panic!("no turn: {other:?}"),
    }
}

async fn end(frames: &mut Frames) -> pb::end::Reason {
    match frame(frames).await {
        Frame::End(end) => end.reason(),
        other => panic!("no end: {other:?}"),
    }
}

/// A member of the world's org who is not its admin.
async fn member(world: &World, name: &str) -> (UserId, Principal) {
    let (org, user) = (world.org, UserId::of_subject("test", &format!("{name} of {}", world.org)));
    let put = world.system(move |tx| Box::pin(async move { orgs::put_member(tx, org, user, orgs::MemberRole::Member).await }));
    put.await;
    (user, Principal::User { org, user })
}

async fn remove(world: &World, user: UserId) {
    let org = world.org;
    world.system(move |tx| Box::pin(async move { orgs::remove_member(tx, org, user).await })).await;
}

/// Cancels a run of which its log has nothing yet.
async fn cancel(world: &World, run: RunId) {
    let (org, user) = (world.org, world.user);
    world.system(move |tx| Box::pin(async move { runs::cancel(tx, org, user, run).await })).await;
}

#[tokio::test]
async fn a_turn_costs_all_viewers_of_its_thread_what_it_costs_one() {
    let world = World::new().await;
    let port = Port::before(world.postgres_url(), None).await;
    let config = Config { postgres_url: port.url.clone().into(), thread_look_ms: NO_LOOKS, ..world.config().await };
    let relay = serve(config).await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(attach(&relay, &world, &world.person()).await);
    }
    let before = port.statements();
    let run = world.send().await;
    world.bus.hint_thread(world.org, world.thread);
    for frames in &mut viewers {
        assert_eq!(turn(frames).await, run.to_string());
    }
    let cost = port.statements() - before;
    assert!(cost < VIEWERS, "{cost} statements");
}

#[tokio::test]
async fn a_turn_is_seen_although_its_hint_is_lost() {
    let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let world = World::on(nats.url().to_owned()).await;
    let relay = relay(&world, LOOKS).await;
    let mut frames = attach(&relay, &world, &world.person()).await;
    nats.kill().await.unwrap();
    let run = world.send().await;
    assert_eq!(turn(&mut frames).await, run.to_string());
}

#[tokio::test]
async fn a_thread_is_looked_at_when_nats_is_back() {
    let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let world = World::on(nats.url().to_owned()).await;
    let proxy = Proxy::before(nats.url()).await;
    let port = Port::before(world.postgres_url(), None).await;
    let config = Config {
        postgres_url: port.url.clone().into(),
        nats_url: format!("nats://{}", proxy.address),
        thread_look_ms: NO_LOOKS,
        ..world.config().await
    };
    let relay = serve(config).await;
    let mut frames = attach(&relay, &world, &world.person()).await;
    let before = port.statements();
    let looks = || async {
        world.bus.hint_thread(world.org, world.thread);
        // The first look comes without a hint.
        (port.statements() > before + 20).then_some(())
    };
    eventually("it is subscribed to: hints have it looked at", looks).await;
    proxy.cut();
    looked(&port).await;
    // Nobody hints at it.
    let run = world.send().await;
    proxy.mend();
    assert_eq!(turn(&mut frames).await, run.to_string());
}

/// Waits until no look is under way any more.
async fn looked(port: &Port) {
    let mut last = (port.statements(), Instant::now());
    let is_quiet = || {
        let now = port.statements();
        if now != last.0 {
            last = (now, Instant::now());
        }
        let is_quiet = last.1.elapsed() > Duration::from_millis(200);
        async move { is_quiet.then_some(()) }
    };
    eventually("nothing more is asked of Postgres", is_quiet).await;
}

#[tokio::test]
async fn who_is_removed_loses_the_stream_by_a_hint_and_by_a_look_and_nobody_else_does() {
    for (looks, is_hinted) in [(NO_LOOKS, true), (LOOKS, false)] {
        let world = World::new().await;
        let (relay, (user, who)) = (relay(&world, looks).await, member(&world, "ann").await);
        let mut removed = attach(&relay, &world, &who).await;
        let mut stays = attach(&relay, &world, &world.person()).await;
        remove(&world, user).await;
        if is_hinted {
            world.bus.hint_members(world.org);
        }
        assert_eq!(end(&mut removed).await, pb::end::Reason::Finished);
        let run = world.send().await;
        world.bus.hint_thread(world.org, world.thread);
        assert_eq!(turn(&mut stays).await, run.to_string());
    }
}

#[tokio::test]
async fn a_thread_that_is_deleted_ends_its_streams_by_a_hint() {
    let world = World::new().await;
    let relay = relay(&world, NO_LOOKS).await;
    let mut frames = attach(&relay, &world, &world.person()).await;
    let (org, user, thread) = (world.org, world.user, world.thread);
    world.system(move |tx| Box::pin(async move { threads::delete(tx, org, user, thread).await })).await;
    world.bus.hint_thread(org, thread);
    assert_eq!(end(&mut frames).await, pb::end::Reason::Finished);
}

#[tokio::test]
async fn every_run_that_waits_has_its_place_looked_up() {
    let world = World::new().await;
    let relay = world.relay().await;
    let holder = world.send().await;
    let mut queued = Vec::new();
    for place in 1..=50 {
        let run = world.send().await;
        queued.push((place, relay.client.attach(&world.person(), run, None).await));
    }
    cancel(&world, holder).await;
    // The first of them is promoted and holds the thread now: everybody behind it moves up by one.
    for (place, viewer) in queued.iter_mut().skip(1) {
        let is_there = |seen: &Seen| seen.statuses.last().is_some_and(|status| status.queue_position == *place - 1);
        viewer.until(is_there).await;
    }
}
