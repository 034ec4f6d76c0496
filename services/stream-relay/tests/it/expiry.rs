//! Credentials that end while a stream is attached.

use crate::client::{START, cursor, step_started, text};
use crate::world::{World, eventually, serve, soon};
use runmesh_domain::Reason;
use runmesh_stream_relay::Config;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_thread_response::Frame;
use runmesh_wire::status::reason;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_stream_ends_with_its_callers_credentials_and_goes_on_with_new_ones() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let viewer = relay.client.for_only(SOON).attach(&who, run, START).await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "before ")]).await;
    appender.settled().await;
    let seen = viewer.to_end().await;
    let end = seen.end.clone().unwrap();
    assert_eq!((end.reason(), seen.view.text().as_str()), (pb::end::Reason::TokenExpired, "before "));
    appender.send(vec![text(1, "after")]).await;
    appender.settled().await;
    world.finish(lease, "before after", None).await;
    let seen = relay.client.attach(&who, run, cursor(&end.cursor)).await.going_on(seen).to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.events.len(), seen.resets.len()), ("before after", 6, 0));
}

#[tokio::test]
async fn so_does_that_of_a_thread_without_a_turn() {
    let world = World::new().await;
    let relay = world.relay().await;
    let thread = world.thread.to_string();
    let mut frames = relay.client.for_only(SOON).attach_thread(&world.person(), &thread, None).await.unwrap();
    let mut last = None;
    while let Some(response) = soon(frames.message()).await.unwrap() {
        last = response.frame;
    }
    let Some(Frame::End(end)) = last else { panic!("{last:?}") };
    assert_eq!(end.reason(), pb::end::Reason::TokenExpired);
    assert!(!end.cursor.is_empty(), "a turn that comes meanwhile is not to be missed");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_gives_its_seat_back_soon_after_its_credentials() {
    let world = World::new().await;
    let relay = serve(Config { viewers_per_user_max: 1, ..world.config().await }).await;
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    // More than a client takes of what it does not read.
    for _ in 0..24 {
        appender.send(vec![text(1, "x".repeat(200 << 10))]).await;
        appender.settled().await;
    }
    let unread = relay.client.for_only(SOON).attach(&who, run, START).await;
    let attach = async || relay.client.try_attach(&who, &run.to_string(), START).await;
    let refused = attach().await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::ViewerLimit), "the only seat is taken");
    let seated = eventually("the seat is free again", || async { attach().await.ok() }).await;
    drop((unread, seated));
}
