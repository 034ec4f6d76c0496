//! A caller that goes away in the middle (a regression test for sqlx 0.9.0, whose `begin` must not be dropped half way).

use crate::fixture::{World, id};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_store::runs;
use runmesh_store::threads::{self, NewThread};
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_leave_nothing_half_done() {
    let world = World::new().await;
    let thread = world.thread().await;
    let mut acknowledged: Vec<RunId> = Vec::new();
    let mut dropped = 0;
    for polls in 1..200 {
        let new = world.message(thread, "x");
        let run = new.run;
        let sent = {
            let mut send = pin!(world.try_send(new));
            let mut seen = None;
            for _ in 0..polls {
                if let Poll::Ready(answer) = send.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    seen = Some(answer);
                    break;
                }
                tokio::task::yield_now().await;
            }
            seen
        };
        match sent {
            Some(answer) => acknowledged.push(answer.unwrap().run),
            None => dropped += 1,
        }
        // A write right behind it, on whatever connection comes up.
        let after = world.message(world.thread().await, "y");
        acknowledged.push(world.try_send(after).await.unwrap().run);
        assert_ne!(run, acknowledged[acknowledged.len() - 1]);
    }
    assert!(dropped > 50, "the fault happened only {dropped} times");
    let org = world.org;
    for run in acknowledged {
        assert!(world.org_tx(move |tx| runs::get(tx, org, run).boxed()).await.is_ok(), "an acknowledged write is gone");
    }
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let deadline = Instant::now() + Duration::from_secs(4);
    while server::value::<i64>(&world.url, idle).await > 0 {
        assert!(Instant::now() < deadline, "a transaction was left open");
    }
    let holes: i64 = server::value(
        &world.url,
        "SELECT count(*) FROM threads t WHERE t.next_turn - 1 <> (SELECT count(*) FROM runs r WHERE r.thread_id = t.id)",
    )
    .await;
    assert_eq!(holes, 0, "a half-done message");
}

#[tokio::test]
async fn what_was_begun_is_finished_although_nobody_waits() {
    let world = World::new().await;
    let new = NewThread { id: ThreadId::from_uuid(id()), org: world.org, user: world.user, agent: None, title: String::new() };
    let (org, thread) = (world.org, new.id);
    {
        let mut create = pin!(world.org_tx(move |tx| threads::create(tx, new.clone()).boxed()));
        assert!(create.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.org_tx(move |tx| threads::get(tx, org, thread).boxed()).await.is_err() {
        assert!(Instant::now() < deadline, "never committed");
    }
}
