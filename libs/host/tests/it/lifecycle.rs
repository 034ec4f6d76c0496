//! Faults end the process, drains end in time, children end alone or with their parent.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runmesh_host::Lifecycle;
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, eventually};

const GRACE: Duration = Duration::from_secs(5);

/// A task that ends with the soft token.
fn willing(life: &Lifecycle) {
    let soft = life.soft().clone();
    life.spawn::<_, Infallible>("willing", async move {
        soft.cancelled().await;
        Ok(())
    });
}

#[tokio::test]
async fn an_error_before_the_drain_ends_the_process() {
    let life = Lifecycle::new();
    willing(&life);
    life.spawn("doomed", async { Err("no luck") });
    let fault = timeout(PATIENCE, life.run(GRACE)).await.unwrap().unwrap_err();
    assert_eq!((fault.task, fault.cause.as_str()), ("doomed", "no luck"));
}

#[tokio::test]
async fn a_panic_before_the_drain_ends_the_process() {
    let life = Lifecycle::new();
    life.spawn_loop("doomed", Duration::from_millis(1), || async {
        assert!(std::env::args().count() > 10_000, "out of luck");
        Ok::<(), Infallible>(())
    });
    let fault = timeout(PATIENCE, life.run(GRACE)).await.unwrap().unwrap_err();
    assert_eq!((fault.task, fault.cause.as_str()), ("doomed", "panicked: out of luck"));
}

#[tokio::test]
async fn an_error_during_the_drain_is_no_fault() {
    let life = Lifecycle::new();
    let soft = life.soft().clone();
    life.spawn("late", async move {
        soft.cancelled().await;
        Err("connection closed")
    });
    life.stop();
    timeout(PATIENCE, life.run(GRACE)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_loop_ticks_outlives_failed_ticks_and_stops_on_soft() {
    let life = Lifecycle::new();
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ticks);
    life.spawn_loop("counter", Duration::from_millis(2), move || {
        let tick = counted.fetch_add(1, Ordering::SeqCst);
        async move { if tick.is_multiple_of(2) { Err("every other") } else { Ok(()) } }
    });
    eventually("several ticks", || async { ticks.load(Ordering::SeqCst) >= 6 }).await;
    assert!(life.fault().is_none());
    assert!(life.drain(GRACE).await);
    assert_eq!(Arc::strong_count(&ticks), 1, "nothing is left that could tick");
}

#[tokio::test]
async fn a_stubborn_task_is_dropped_when_the_grace_is_over() {
    let life = Lifecycle::new();
    life.spawn::<_, Infallible>("stubborn", std::future::pending());
    let started = Instant::now();
    assert!(!life.drain(Duration::from_millis(100)).await);
    assert!(started.elapsed() >= Duration::from_millis(100) && started.elapsed() < GRACE);
}

#[tokio::test]
async fn what_runs_aside_does_not_hold_up_the_drain() {
    let life = Lifecycle::new();
    life.spawn_aside::<_, Infallible>("admin", std::future::pending());
    willing(&life);
    let started = Instant::now();
    assert!(life.drain(GRACE).await);
    assert!(started.elapsed() < GRACE);
}

#[tokio::test]
async fn a_child_drains_alone_and_with_its_parent() {
    let life = Lifecycle::new();
    let (first, second) = (life.child(), life.child());
    willing(&first);
    willing(&second);
    assert!(first.drain(GRACE).await);
    assert!(!life.is_draining() && !second.is_draining());
    assert!(life.drain(GRACE).await, "the parent waited for its other child");
    assert!(second.is_draining());
}

#[tokio::test]
async fn a_fault_of_a_child_is_one_of_the_process() {
    let life = Lifecycle::new();
    let (first, second) = (life.child(), life.child());
    willing(&second);
    first.spawn("doomed", async { Err("no luck") });
    let fault = timeout(PATIENCE, life.run(GRACE)).await.unwrap().unwrap_err();
    assert_eq!(fault.task, "doomed");
    assert!(second.is_draining());
}
