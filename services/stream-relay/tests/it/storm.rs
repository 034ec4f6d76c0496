//! Many who attach at once, and what one attach costs.

use crate::client::{SNAPSHOT, START, cursor, step_started, text};
use crate::postgres::Port;
use crate::world::{World, serve};
use futures::future::join_all;
use runmesh_domain::id::RunId;
use runmesh_stream_relay::Config;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::stream as pb;
use std::time::Duration;

const VIEWERS: u32 = 200;
/// Those who come back after a relay died.
const CROWD: u32 = 1_000;

/// A run that is over, with its log.
async fn ended(world: &World) -> RunId {
    let run = world.send().await;
    let lease = world.claim().await;
    world.finish(lease, "whole", None).await;
    run
}

async fn config(world: &World, port: &Port) -> Config {
    Config { postgres_url: port.url.clone().into(), ..world.config().await }
}

#[tokio::test]
async fn nobody_who_attaches_is_refused_because_all_connections_are_taken_for_a_while() {
    let world = World::new().await;
    let run = ended(&world).await;
    // So few statements get through that the last of them is served only after some seconds.
    let port = Port::before(world.postgres_url(), Some(Duration::from_millis(20))).await;
    let config = Config {
        postgres_read_connections: 4,
        postgres_read_timeout_ms: 10_000,
        viewers_per_user_max: VIEWERS,
        ..config(&world, &port).await
    };
    let relay = serve(config).await;
    let (who, run) = (world.person(), run.to_string());
    let attached = join_all((0..VIEWERS).map(|_| relay.client.try_attach(&who, &run, START))).await;
    for viewer in attached {
        let seen = viewer.unwrap().to_end().await;
        assert_eq!((seen.view.text().as_str(), seen.end.unwrap().state()), ("whole", State::Completed));
    }
}

#[tokio::test]
async fn an_ended_run_is_attached_to_with_one_statement_and_its_journal_is_read_for_a_snapshot_only() {
    let world = World::new().await;
    let run = ended(&world).await;
    let port = Port::before(world.postgres_url(), None).await;
    let relay = serve(config(&world, &port).await).await;
    let cost = async |from| {
        let before = port.statements();
        let seen = relay.client.attach(&world.person(), run, from).await.to_end().await;
        assert_eq!(seen.end.as_ref().unwrap().reason(), pb::end::Reason::Finished);
        (port.statements() - before, seen)
    };
    let (from_start, seen) = cost(START).await;
    let (from_cursor, _) = cost(cursor(&seen.cursor)).await;
    // BEGIN, the statement, COMMIT.
    assert_eq!((from_start, from_cursor), (3, 3));
    let (snapshot, seen) = cost(SNAPSHOT).await;
    assert!(snapshot > 3 && seen.from_database, "{snapshot} statements");
}

#[tokio::test]
async fn a_thousand_viewers_who_come_back_at_once_go_on_where_they_stopped() {
    let world = World::new().await;
    let (who, run, lease) = (world.person(), world.send().await, world.claim().await);
    let config = Config { viewers_per_user_max: CROWD + 1, ..world.config().await };
    let (first, other) = (serve(config.clone()).await, serve(config).await);
    let (mut appender, _) = first.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for _ in 0..200 {
        appender.send((0..10).map(|_| text(1, "word ")).collect()).await;
    }
    appender.settled().await;
    let mut viewer = first.client.attach(&who, run, START).await;
    let seen = viewer.until(|seen| seen.view.seq > 1_000).await.clone();

    // The other relay has nothing of the run at hand.
    let come_back = async || {
        let mut viewer = other.client.attach(&who, run, cursor(&seen.cursor)).await.going_on(seen.clone());
        viewer.until(|seen| seen.view.seq > 2_001).await;
        viewer
    };
    let back = join_all((0..CROWD).map(|_| come_back()));
    let (viewers, ()) = tokio::join!(back, appender.send(vec![text(1, "and on")]));
    world.finish(lease, "whole", None).await;
    for viewer in join_all(viewers.into_iter().map(crate::client::Viewer::to_end)).await {
        assert_eq!((viewer.resets.as_slice(), viewer.end.unwrap().state()), (&[][..], State::Completed));
        assert!(!viewer.from_database);
    }
}

#[tokio::test]
async fn a_thousand_viewers_who_want_a_snapshot_at_once_get_one_that_joins_what_follows() {
    let world = World::new().await;
    let (who, run, lease) = (world.person(), world.send().await, world.claim().await);
    let relay = serve(Config { viewers_per_user_max: CROWD, ..world.config().await }).await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for _ in 0..200 {
        appender.send((0..10).map(|_| text(1, "word ")).collect()).await;
    }
    appender.settled().await;
    let come = async || {
        let mut viewer = relay.client.attach(&who, run, SNAPSHOT).await;
        viewer.until(|seen| seen.view.seq > 2_001).await;
        viewer
    };
    let (viewers, ()) = tokio::join!(join_all((0..CROWD).map(|_| come())), appender.send(vec![text(1, "and on")]));
    let whole = format!("{}and on", "word ".repeat(2_000));
    for viewer in viewers {
        assert_eq!(viewer.seen.view.text(), whole);
        assert!(viewer.seen.resets.is_empty() && !viewer.seen.from_database);
    }
}
