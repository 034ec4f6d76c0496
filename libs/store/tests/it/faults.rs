//! Infrastructure that fails, and what the wrapper makes of it.

use crate::fixture::{QUEUES, World, claim_for};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::error::Fault;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::message::Part;
use runmesh_domain::{Error, Refusal};
use runmesh_store::actions;
use runmesh_store::runs::{self, NewMessage};
use runmesh_store::{Db, PageRequest, Scope, StoreConfig, Tx, orgs, threads};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Semaphore;

#[tokio::test]
async fn two_replicas_migrate_an_empty_database_at_once() {
    let url = server::empty().await;
    let (one, other) = tokio::join!(Db::migrate(&url), Db::migrate(&url));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.applied.is_empty() != other.applied.is_empty(), "one of them does it all: {one:?} {other:?}");
    assert_eq!(Db::migrate(&url).await.unwrap().applied, [], "again is fine");
    let db = Db::connect(&StoreConfig::new(&url, "test")).await.unwrap();
    let schema = db.schema().await.unwrap();
    assert_eq!((schema.newest, schema.missing.len()), (runmesh_store::newest_migration(), 0));
    assert!(db.server_version().await.unwrap().starts_with(|c: char| c.is_ascii_digit()));
    assert!(db.now().await.unwrap() < db.now().await.unwrap());
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_soon() {
    let began = std::time::Instant::now();
    let answer = Db::connect(&StoreConfig::new("postgres://x@127.0.0.1:1/x", "test")).await;
    assert!(matches!(answer, Err(Error::Fault(Fault::Unavailable { part: "postgres", .. }))), "{answer:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(3));
    let secret = Db::connect(&StoreConfig::new("postgres://u:hunter2@[", "test")).await;
    assert!(!format!("{secret:?}").contains("hunter2"));
}

#[tokio::test]
async fn idle_connections_that_died_are_replaced_unnoticed() {
    let world = World::new().await;
    let thread = world.thread().await;
    for _ in 0..3 {
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        server::value::<i64>(&world.url, kill).await;
        world.send(thread, "x").await;
    }
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_did_nothing() {
    let world = World::new().await;
    let thread = world.thread().await;
    let (new, url) = (world.message(thread, "x"), world.url.clone());
    let answer = world.org_tx(move |tx| {
        let (new, url) = (new.clone(), url.clone());
        async move {
            let sent = runs::send(tx, new).await?;
            let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
            server::value::<i64>(&url, kill).await;
            Ok(sent.run)
        }
        .boxed()
    });
    let answer = answer.await;
    assert!(matches!(answer, Err(Error::Fault(Fault::OutcomeUnknown { part: "postgres", .. }))), "{answer:?}");
    assert_eq!(world.send(thread, "y").await.turn_number, 1);
}

/// A transaction that sends a message and then stands still until the server has ended it; then it commits.
async fn committed_too_late(world: &World, thread: ThreadId) -> runmesh_domain::Result<RunId> {
    let (new, url) = (world.message(thread, "x"), world.url.clone());
    world
        .org_tx(move |tx| {
            let (new, url) = (new.clone(), url.clone());
            async move {
                let sent = runs::send(tx, new).await?;
                let open = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
                let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
                while server::value::<i64>(&url, open).await > 0 {
                    assert!(std::time::Instant::now() < end, "the server ended the transaction");
                }
                Ok(sent.run)
            }
            .boxed()
        })
        .await
}

#[tokio::test]
async fn a_process_that_stood_still_before_its_commit_did_nothing_and_may_try_again() {
    let world = World::new().await;
    let thread = world.thread().await;
    // The store's own limit of five seconds: this client says nothing until the server has given it up.
    let answer = committed_too_late(&world, thread).await;
    assert!(matches!(answer, Err(Error::Fault(Fault::Unavailable { part: "postgres", .. }))), "{answer:?}");
    assert_eq!(world.send(thread, "y").await.turn_number, 1, "nothing was committed");
}

/// A check that Postgres makes at COMMIT, on the rows that a message writes.
fn at_commit(body: &str) -> String {
    format!(
        "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {body}; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )
}

#[tokio::test]
async fn what_postgres_will_not_do_now_at_commit_is_unavailable_and_not_a_fault_of_ours() {
    for (what, body) in [
        ("cancelled", "PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(60)"),
        ("lock_timeout", "LOCK TABLE walled IN ACCESS EXCLUSIVE MODE"),
        ("disk_full", "RAISE EXCEPTION USING ERRCODE = 'disk_full'"),
    ] {
        let world = World::new().await;
        let thread = world.thread().await;
        server::execute(&world.url, "CREATE TABLE walled ()").await;
        server::execute(&world.url, &at_commit(body)).await;
        let wall = server::hold(&world.url, "LOCK TABLE walled IN ACCESS SHARE MODE").await;
        let answer = world.try_send(world.message(thread, "x")).await;
        assert!(matches!(answer, Err(Error::Fault(Fault::Unavailable { part: "postgres", .. }))), "{what}: {answer:?}");
        drop(wall);
        server::execute(&world.url, "DROP TRIGGER at_commit ON messages").await;
        assert_eq!(world.send(thread, "y").await.turn_number, 1, "{what}: nothing was committed");
    }
}

#[tokio::test]
async fn a_constraint_that_refuses_a_commit_is_a_fault() {
    let world = World::new().await;
    let thread = world.thread().await;
    server::execute(&world.url, &at_commit("RAISE EXCEPTION USING ERRCODE = 'check_violation'")).await;
    let answer = world.try_send(world.message(thread, "x")).await;
    assert!(matches!(answer, Err(Error::Fault(Fault::Internal { .. }))), "{answer:?}");
}

#[tokio::test]
async fn a_dropped_error_never_commits_the_rest() {
    let world = World::new().await;
    let thread = world.thread().await;
    let (first, org) = (world.message(thread, "x"), world.org);
    let answer = world.org_tx(move |tx| {
        let first = first.clone();
        async move {
            let second = NewMessage { message: first.message, ..first.clone() };
            let sent = runs::send(tx, first).await?;
            // The same ids again: a unique violation, which spoils the transaction.
            let _ = runs::send(tx, second).await;
            Ok(sent.run)
        }
        .boxed()
    });
    assert!(matches!(answer.await, Err(Error::Fault(Fault::Internal { .. }))));
    assert_eq!(world.org_tx(move |tx| runs::queue(tx, org, thread).boxed()).await.unwrap(), vec![]);
}

#[tokio::test]
async fn contention_is_tried_again() {
    let world = World::new().await;
    let other = world.other("two").await;
    let (one, two) = (world.thread().await, other.thread().await);
    let (first, second) = (world.send(one, "x").await.run, other.send(two, "x").await.run);
    // Two transactions lock the same two threads crosswise: Postgres ends one of them, which then goes again.
    let tries = Arc::new(AtomicU32::new(0));
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let cross = |a, b| {
        let (db, tries, barrier) = (world.db.clone(), tries.clone(), barrier.clone());
        tokio::spawn(async move {
            db.tx(Scope::System, move |tx: &mut Tx| {
                let (mine, barrier) = (tries.fetch_add(1, Ordering::Relaxed), barrier.clone());
                async move {
                    runs::lock(tx, a).await?;
                    if mine < 2 {
                        barrier.wait().await;
                    }
                    runs::lock(tx, b).await.map(|_| ())
                }
                .boxed()
            })
            .await
        })
    };
    let (left, right) = tokio::join!(cross(first, second), cross(second, first));
    assert_eq!((left.unwrap(), right.unwrap()), (Ok(()), Ok(())));
    // One more when the other was so slow to take what was left to it that they met once again.
    let tries = tries.load(Ordering::Relaxed);
    assert!((3..=4).contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn panics_and_refusals_roll_back_and_free_the_connection() {
    let world = World::new().await;
    let (org, thread) = (world.org, world.thread().await);
    for round in 0..20 {
        let new = world.message(thread, "x");
        let answer = world.org_tx(move |tx| {
            let new = new.clone();
            async move {
                runs::send(tx, new).await?;
                assert!(round % 2 == 0, "a bug");
                orgs::remove_member(tx, org, runmesh_domain::id::UserId::from_uuid(crate::fixture::id())).await
            }
            .boxed()
        });
        assert!(answer.await.is_err());
    }
    assert_eq!(world.org_tx(move |tx| runs::queue(tx, org, thread).boxed()).await.unwrap(), vec![]);
}

#[tokio::test]
async fn nul_in_text_is_refused_and_not_a_fault() {
    let world = World::new().await;
    let new = NewMessage { parts: vec![Part::text("a\0b")], ..world.message(world.thread().await, "x") };
    assert!(matches!(world.try_send(new).await, Err(Error::Refused(Refusal::InvalidField { .. }))));
}

/// Somebody's lock on the inbox, as a maintenance job of the database may hold it: whoever reads it waits.
async fn lock_the_inbox(url: &str) -> sqlx::postgres::PgConnection {
    let mut connection = server::connect(url).await;
    let lock = "BEGIN; LOCK TABLE pending_actions IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn slow_reads_take_no_connection_of_a_command() {
    let world = World::new().await;
    let (org, thread) = (world.org, world.thread().await);
    let config = StoreConfig { connections: 1, read_connections: 4, ..StoreConfig::new(&world.url, "reads") };
    let db = Db::connect(&config).await.unwrap();
    let (begun, end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = || {
        let (db, begun, end) = (db.clone(), begun.clone(), end.clone());
        tokio::spawn(async move {
            db.read(Scope::Org(org), move |_| {
                let (begun, end) = (begun.clone(), end.clone());
                async move {
                    begun.add_permits(1);
                    // Until it is closed.
                    let _ = end.acquire().await;
                    Ok(())
                }
                .boxed()
            })
            .await
        })
    };
    let reads: Vec<_> = (0..4).map(|_| slow()).collect();
    begun.acquire_many(4).await.unwrap().forget();
    let fifth = slow().await.unwrap();
    assert!(matches!(fifth, Err(Error::Fault(Fault::Unavailable { .. }))), "{fifth:?}");
    let new = world.message(thread, "x");
    let sent = db.tx(Scope::Org(org), move |tx| runs::send(tx, new.clone()).boxed());
    assert_eq!(sent.await.unwrap().turn_number, 1, "a command goes on");
    end.close();
    drop(reads);
}

#[tokio::test]
async fn commands_that_hold_every_connection_keep_no_claim_from_its_work() {
    let world = World::new().await;
    let (org, thread) = (world.org, world.thread().await);
    let new = world.message(thread, "x");
    world.db.tx(Scope::Org(org), move |tx| runs::send(tx, new.clone()).boxed()).await.unwrap();
    let session = world.session().await;
    let db = Db::connect(&StoreConfig { connections: 1, ..StoreConfig::new(&world.url, "crowd") }).await.unwrap();
    let (begun, end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (crowd, is_begun, may_end) = (db.clone(), begun.clone(), end.clone());
    let held = tokio::spawn(async move {
        crowd
            .tx(Scope::Org(org), move |_| {
                let (begun, end) = (is_begun.clone(), may_end.clone());
                async move {
                    begun.add_permits(1);
                    // Until it is closed.
                    let _ = end.acquire().await;
                    Ok(())
                }
                .boxed()
            })
            .await
    });
    begun.acquire().await.unwrap().forget();
    let wish = claim_for(session, 1, QUEUES);
    let claim = db.background_tx(move |tx| {
        let wish = wish.clone();
        async move { runs::claim(tx, &wish).await }.boxed()
    });
    let claims = claim.await.unwrap();
    assert_eq!(claims.claimed.len(), 1);
    end.close();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_ended_and_changes_nothing() {
    let world = World::new().await;
    let org = world.org;
    let soon = std::time::Duration::from_millis(50);
    let db = Db::connect(&StoreConfig { read_timeout: soon, ..StoreConfig::new(&world.url, "reads") }).await.unwrap();
    let lock = lock_the_inbox(&world.url).await;
    let read =
        db.read(Scope::Org(org), move |tx| async move { actions::list_pending(tx, org, &PageRequest::first()).await }.boxed());
    let Err(Error::Fault(Fault::Unavailable { detail, .. })) = read.await.map(|_| ()) else { panic!("it was not ended") };
    assert!(detail.contains("statement timeout"), "{detail}");
    drop(lock);
    let thread = world.thread().await;
    let new = world.message(thread, "x");
    let written = db.read(Scope::Org(org), move |tx| runs::send(tx, new.clone()).boxed()).await;
    assert!(matches!(written, Err(Error::Fault(Fault::Internal { .. }))), "a read cannot write: {written:?}");
    let there = world.org_tx(move |tx| async move { threads::messages(tx, org, thread, &PageRequest::first()).await }.boxed());
    assert_eq!(there.await.unwrap().items, vec![]);
}
