//! Connections to Postgres that are all taken: whoever has them holds up nobody but their like.

use crate::client::{START, step_started, text};
use crate::postgres::Port;
use crate::world::{Relay, World, eventually, serve};
use futures::future::join_all;
use runmesh_domain::Reason;
use runmesh_domain::id::RunId;
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_stream_relay::Config;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::status::reason;
use std::time::Duration;
use tonic_types::StatusExt as _;

/// What only those ask who attach: whether they are members.
const ATTACHES: &str = "FROM members";
/// What only those ask who append: which steps were journaled before.
const APPENDS: &str = "FROM steps WHERE run_id = $1 AND fence <";
const CONNECTIONS: u32 = 2;

/// With few connections of each kind, over a port in front of Postgres.
async fn relay(world: &World) -> (Relay, Port) {
    let port = Port::before(world.postgres_url(), None).await;
    let config = Config {
        postgres_url: port.url.clone().into(),
        postgres_connections: CONNECTIONS,
        postgres_read_connections: CONNECTIONS,
        postgres_probe_connections: 1,
        ..world.config().await
    };
    (serve(config).await, port)
}

/// A second attempt, whose append asks Postgres for steps of the first; nobody told its log of it.
async fn second_attempt(world: &World) -> (RunId, LeaseClaim) {
    let run = world.send().await;
    let first = world.claim().await;
    world.release(first).await;
    let (_, second) = world.claim_untold().await;
    (run, second)
}

async fn all_taken(port: &Port) {
    let taken = || async { (port.held() >= CONNECTIONS as usize).then_some(()) };
    eventually("every connection is taken", taken).await;
}

#[tokio::test]
async fn viewers_that_take_all_connections_hold_up_neither_an_append_nor_the_look_at_quiet_runs() {
    let world = World::new().await;
    let (relay, port) = relay(&world).await;
    let who = world.person();
    let (run, lease) = second_attempt(&world).await;
    let watching = relay.client.attach(&who, run, START).await;
    port.hold(Some(ATTACHES));
    let id = run.to_string();
    // Whoever is refused comes back at once.
    let attaching = join_all((0..2 * CONNECTIONS).map(|_| async {
        loop {
            let attached = relay.client.try_attach(&who, &id, START).await;
            assert!(attached.is_err(), "the statement was not held back");
        }
    }));
    let at_work = async {
        all_taken(&port).await;
        let (mut appender, _) = relay.client.append(lease).await;
        appender.send(vec![step_started(1), text(1, "said")]).await;
        assert_eq!(appender.settled().await.number, 2, "it was acknowledged");
        drop(appender);
        world.finish_untold(lease, "said", None).await;
        let seen = watching.to_end().await;
        assert_eq!((seen.view.text().as_str(), seen.end.unwrap().state()), ("said", State::Completed));
    };
    tokio::select! {
        () = at_work => {}
        _ = attaching => {}
    }
}

#[tokio::test]
async fn appends_that_take_all_connections_hold_up_neither_a_viewer_nor_the_look_at_quiet_runs() {
    let world = World::new().await;
    let (relay, port) = relay(&world).await;
    let (who, (run, lease)) = (world.person(), second_attempt(&world).await);
    port.hold(Some(APPENDS));
    let mut appenders = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let appender = relay.client.append_as(&Principal::Lease(lease)).await.unwrap();
        appender.open(lease.run, lease.fence).await;
        appenders.push(appender);
    }
    all_taken(&port).await;
    let watching = relay.client.attach(&who, run, START).await;
    world.finish_untold(lease, "said", None).await;
    let seen = watching.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.end.unwrap().state()), ("said", State::Completed));
    drop(appenders);
}

#[tokio::test]
async fn who_waits_in_vain_to_attach_is_asked_to_come_back_later() {
    let world = World::new().await;
    let (relay, port) = relay(&world).await;
    let (who, run) = (world.person(), world.send().await.to_string());
    port.hold(Some(ATTACHES));
    let attach = async || relay.client.try_attach(&who, &run, START).await;
    // Some of them are in the line still when the wait of the last is over.
    let first = join_all((0..6 * CONNECTIONS).map(|_| attach()));
    let late = async {
        all_taken(&port).await;
        let thread = world.thread.to_string();
        let (of_run, of_thread) = futures::join!(attach(), relay.client.attach_thread(&who, &thread, None));
        [of_run.err().unwrap(), of_thread.err().unwrap()]
    };
    let (_, refused) = futures::join!(first, late);
    for refused in refused {
        assert_eq!(reason(&refused), Some(Reason::Overloaded), "{refused:?}");
        let retry = refused.get_details_retry_info().and_then(|info| info.retry_delay);
        assert!(retry.is_some_and(|pause| pause >= Duration::from_secs(1)), "{retry:?}");
    }
    port.hold(None);
    // Nobody is in the line any more, and the connections are free.
    let attached = eventually("the next one is let in", || async { attach().await.ok() }).await;
    drop(attached);
}
