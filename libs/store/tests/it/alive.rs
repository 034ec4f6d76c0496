//! The lock by which a session says that its process lives.

use crate::fixture::{LEASES, World, credential};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::run::StateName;
use runmesh_store::maintenance;
use runmesh_store::sessions::{self, Alive};
use std::time::{Duration, Instant};

/// Locks tell nothing within a lease of the server's own start: a lease that passed long ago.
const SHORT: Leases = Leases { lease_ms: 1, ..LEASES };

async fn hold(world: &World, session: SessionId, number: i64) -> Alive {
    sessions::hold_alive(&world.db, session, number).await.unwrap()
}

async fn forget(world: &World, session: SessionId, number: i64) {
    world.system(move |tx| sessions::forget_lock(tx, session, number).boxed()).await.unwrap();
}

async fn somebody_is_gone(world: &World) -> bool {
    let due = world.system(|tx| async move { maintenance::due(tx, &SHORT, Duration::ZERO).await }.boxed());
    due.await.unwrap().gone_workers
}

/// The server takes a lock back when it sees its connection end.
async fn until_gone(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !somebody_is_gone(world).await {
        assert!(Instant::now() < deadline, "the lock was never free");
    }
}

async fn reap(world: &World) -> Vec<RunId> {
    crate::fixture::reap(&world.db, &SHORT).await.into_iter().map(|(run, _)| run).collect()
}

async fn reopen(world: &World, session: SessionId) -> i64 {
    world.system(move |tx| async move { sessions::reopen(tx, session, &credential(), &LEASES).await }.boxed()).await.unwrap()
}

async fn pass_the_cut(world: &World) {
    let text = "UPDATE worker_sessions SET cut_ends_at = clock_timestamp() WHERE cut_ends_at IS NOT NULL";
    server::execute(&world.url, text).await;
}

#[tokio::test]
async fn a_process_whose_lock_is_free_is_gone() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await.run;
    assert!(!somebody_is_gone(&world).await, "a session that says nothing of a lock");
    let alive = hold(&world, session, 1).await;
    assert!(!somebody_is_gone(&world).await);
    drop(alive);
    until_gone(&world).await;
    assert!(reap(&world).await.is_empty(), "a moment is left");
    pass_the_cut(&world).await;
    assert_eq!(reap(&world).await, [run]);
}

#[tokio::test]
async fn a_session_that_comes_back_has_no_lock_until_it_says_so() {
    let world = World::new().await;
    let session = world.session().await;
    drop(hold(&world, session, 1).await);
    until_gone(&world).await;
    assert_eq!(reopen(&world, session).await, 2);
    assert!(!somebody_is_gone(&world).await, "the lock of the old stream");
    drop(hold(&world, session, 1).await);
    assert!(!somebody_is_gone(&world).await, "said too late, of the old stream");
    drop(hold(&world, session, 2).await);
    until_gone(&world).await;
}

#[tokio::test]
async fn a_process_that_lives_keeps_its_runs_when_its_lock_is_lost() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await.run;
    let mut alive = hold(&world, session, 1).await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    server::execute(&world.url, terminate).await;
    tokio::time::timeout(Duration::from_millis(200), alive.lost()).await.unwrap();
    until_gone(&world).await;
    assert!(reap(&world).await.is_empty());
    forget(&world, session, 0).await;
    pass_the_cut(&world).await;
    forget(&world, session, 1).await;
    assert!(reap(&world).await.is_empty());
    assert!(!somebody_is_gone(&world).await);
    assert_eq!(world.state(run).await, StateName::Running);
    world.send(world.thread().await, "x").await;
    assert_eq!(world.claim(session, 1).await.len(), 1, "it takes runs as before");
}

#[tokio::test]
async fn a_process_that_goes_in_the_middle_of_its_wait_is_gone_all_the_same() {
    let world = World::new().await;
    let session = world.session().await;
    let mut alive = hold(&world, session, 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), alive.lost()).await.is_err(), "it holds");
    assert!(!somebody_is_gone(&world).await);
    drop(alive);
    let freed = Instant::now();
    until_gone(&world).await;
    assert!(freed.elapsed() < Duration::from_secs(3), "sooner than its statement ends");
}
