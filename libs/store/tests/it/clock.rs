//! What a database clock that somebody sets does to sessions and their runs: nothing by itself.

use crate::fixture::{LEASES, World, credential};
use futures::FutureExt as _;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::StateName;
use runmesh_store::runs::{self, Reaped};
use runmesh_store::sessions::{self, Beat};
use std::time::{Duration, Instant};

/// Long enough for a test to act within, short enough to be waited for.
const SHORT: Leases = Leases { lease_ms: 5_000, heartbeat_ms: 400, ..LEASES };

async fn beat(world: &World, session: SessionId, held: &[LeaseClaim]) -> Beat {
    let held = held.iter().map(|lease| (lease.run, lease.fence)).collect();
    sessions::heartbeat(&world.db, session, &credential(), 1, held, &SHORT).await.unwrap()
}

async fn reap(world: &World) -> Option<Reaped> {
    runs::reap(&world.db, &SHORT, 100).await.unwrap()
}

/// Reaps, while `meanwhile` goes on, until something is taken back.
async fn until_reaped(world: &World, meanwhile: impl AsyncFn()) -> Vec<RunId> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        meanwhile().await;
        let reaped = reap(world).await.unwrap_or_default();
        if !reaped.is_empty() {
            return reaped.into_iter().map(|(run, _)| run).collect();
        }
        assert!(Instant::now() < deadline, "nothing was ever taken back");
    }
}

/// Reaps until the clock is trusted again, and time counts.
async fn until_trusted(world: &World, meanwhile: impl AsyncFn()) {
    let (begin, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(60));
    loop {
        meanwhile().await;
        let reaped = reap(world).await;
        assert_eq!(reaped.as_ref().map_or(0, Vec::len), 0, "{reaped:?}");
        if reaped.is_some() && begin.elapsed() > SHORT.two_heartbeats() {
            return;
        }
        assert!(Instant::now() < deadline, "never trusted");
    }
}

#[tokio::test]
async fn a_step_either_way_loses_no_session_that_heartbeats() {
    for step in ["1 hour", "-1 hour"] {
        let world = World::with_own_clock().await;
        let session = world.session_with(&SHORT, |_| {}).await;
        let run = world.running(session).await;
        let lives = async || assert!(beat(&world, session, &[run]).await.is_renewed, "{step}");
        until_trusted(&world, lives).await;
        world.set_clock(step).await;
        assert!(reap(&world).await.is_none(), "{step}");
        lives().await;
        until_trusted(&world, lives).await;
        assert_eq!(world.state(run.run).await, StateName::Running, "{step}");
        let claimed = world.running(session).await;
        assert_eq!(world.state(claimed.run).await, StateName::Running, "{step}: it takes runs as before");
    }
}

#[tokio::test]
async fn a_session_that_is_silent_is_lost_whatever_the_clock_does() {
    for step in ["1 hour", "-1 hour"] {
        let world = World::with_own_clock().await;
        let (silent, lives) = (world.session_with(&SHORT, |_| {}).await, world.session_with(&SHORT, |_| {}).await);
        let (lost, kept) = (world.running(silent).await, world.running(lives).await);
        let meanwhile = async || {
            beat(&world, lives, &[kept]).await;
        };
        until_trusted(&world, async || {
            beat(&world, silent, &[lost]).await;
            meanwhile().await;
        })
        .await;
        world.set_clock(step).await;
        assert_eq!(until_reaped(&world, meanwhile).await, [lost.run], "{step}");
        assert_eq!(world.state(kept.run).await, StateName::Running, "{step}");
        assert!(!beat(&world, silent, &[]).await.ok, "{step}");
    }
}

#[tokio::test]
async fn a_cut_that_a_step_falls_into_still_ends() {
    for step in ["1 hour", "-1 hour"] {
        let world = World::with_own_clock().await;
        let session = world.session().await;
        let run = world.running(session).await;
        until_trusted(&world, async || {}).await;
        world.system(move |tx| runs::cut(tx, session, 1).boxed()).await.unwrap();
        world.set_clock(step).await;
        assert!(reap(&world).await.is_none(), "{step}: no cut ends by a step");
        assert_eq!(until_reaped(&world, async || {}).await, [run.run], "{step}");
    }
}

#[tokio::test]
async fn a_run_that_is_not_named_comes_back_after_a_step() {
    for step in ["1 hour", "-1 hour"] {
        let world = World::with_own_clock().await;
        let session = world.session_with(&SHORT, |_| {}).await;
        let (named, dropped) = (world.running(session).await, world.running(session).await);
        let meanwhile = async || {
            beat(&world, session, &[named]).await;
        };
        until_trusted(&world, async || {
            beat(&world, session, &[named, dropped]).await;
        })
        .await;
        world.set_clock(step).await;
        assert_eq!(until_reaped(&world, meanwhile).await, [dropped.run], "{step}");
    }
}

#[tokio::test]
async fn a_new_process_lets_every_worker_heartbeat_first() {
    let world = World::new().await;
    let session = world.session_with(&SHORT, |_| {}).await;
    let run = world.running(session).await;
    world.expire(session).await;
    let slow = Leases { heartbeat_ms: 600_000, ..SHORT };
    let deadline = Instant::now() + Duration::from_secs(30);
    while runs::reap(&world.db, &slow, 100).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "never trusted");
    }
    assert_eq!(runs::reap(&world.db, &slow, 100).await.unwrap().unwrap_or_default(), vec![]);
    assert!(beat(&world, session, &[run]).await.is_renewed);
}
