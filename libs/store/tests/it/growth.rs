//! What a run costs does not grow with the runs that are over, whatever the planner knew when it made its plans.

use crate::fixture::{QUEUES, World, claim_for, ending, last, lease};
use crate::server;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runmesh_domain::Result;
use runmesh_domain::id::{SessionId, ThreadId};
use runmesh_domain::run::Outcome;
use runmesh_store::runs::{self, FreeThreadsFrom, ListRuns, NewMessage, UnservedFrom};
use runmesh_store::threads::{self, ListThreads};
use runmesh_store::{PageRequest, Scope, Tx, actions, idempotency, maintenance, orgs, probe, sessions};
use std::time::Duration;

/// Runs that are over.
const OVER: i64 = 3_000;
/// Rows that any one of the transactions below may read: far fewer than there are.
const ROWS_MAX: i64 = 200;

/// Does something, and answers how many rows that read.
pub async fn reads<T, F>(world: &World, scope: Scope, work: F) -> (T, i64)
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
{
    let work = std::sync::Arc::new(work);
    let done = world.db.tx(scope, move |tx| {
        let work = std::sync::Arc::clone(&work);
        async move {
            // The server counts from its session's last report on, so what stands there before is taken off.
            let before = probe::rows_read(tx).await?;
            let done = work(tx).await?;
            Ok((done, probe::rows_read(tx).await? - before))
        }
        .boxed()
    });
    done.await.unwrap()
}

/// Everything that happens to a run, and all that is asked about it, with the rows that each read.
async fn life_of_a_run(world: &World, thread: ThreadId, session: SessionId) -> Vec<(&'static str, i64)> {
    let org = Scope::Org(world.org);
    let (owner, user) = (world.org, world.user);
    let new = NewMessage { claim_follows: true, ..world.message(thread, "hi") };
    let run = new.run;
    let mut all = Vec::new();
    let (accepted, rows) = reads(world, org, move |tx| {
        let new = new.clone();
        async move { runs::send(tx, new).await }.boxed()
    })
    .await;
    all.push(("accept", rows));
    let (_, rows) = reads(world, org, move |tx| {
        let accepted = accepted.clone();
        async move { runs::claim_accepted(tx, &accepted, SessionId::from_uuid(crate::fixture::id()), QUEUES).await }.boxed()
    })
    .await;
    all.push(("look whether to claim at once", rows));
    all.push(("list the queue", reads(world, org, move |tx| runs::queue(tx, owner, thread).boxed()).await.1));
    all.push((
        "blocked by",
        reads(world, org, move |tx| async move { runs::blocked_by(tx, run, &QUEUES).await }.boxed()).await.1,
    ));
    let wish = claim_for(session, 5, QUEUES);
    let (claims, rows) = reads(world, Scope::System, move |tx| {
        let wish = wish.clone();
        async move { runs::claim(tx, &wish).await }.boxed()
    })
    .await;
    all.push(("claim", rows));
    let lease = lease(&claims.claimed[0].row);
    assert_eq!(lease.run, run);
    let second = world.message(thread, "and then");
    let (second, rows) = reads(world, org, move |tx| {
        let second = second.clone();
        async move { runs::send(tx, second).await }.boxed()
    })
    .await;
    all.push(("enqueue", rows));
    let (_, rows) = reads(world, org, move |tx| runs::state_of(tx, owner, second.run).boxed()).await;
    all.push(("the state of the queued one", rows));
    let (_, rows) = reads(world, org, move |tx| runs::seen_by(tx, owner, user, second.run).boxed()).await;
    all.push(("attach to the queued one", rows));
    let (_, rows) =
        reads(world, Scope::System, move |tx| async move { runs::standings(tx, &[second.run, run], &QUEUES).await }.boxed())
            .await;
    all.push(("compare both", rows));
    let (_, rows) = reads(world, org, move |tx| runs::cancel(tx, owner, user, second.run).boxed()).await;
    all.push(("cancel the queued one", rows));
    let (_, rows) = reads(world, Scope::System, move |tx| {
        runs::finish(tx, lease, ending(Outcome::Completed, Some(last(1, "done")), None)).boxed()
    })
    .await;
    all.push(("finish", rows));
    for (what, wanted) in [
        ("list runs", ListRuns { page: page(), ..ListRuns::default() }),
        ("list the thread's runs", ListRuns { page: page(), thread: Some(thread), ..ListRuns::default() }),
    ] {
        let (_, rows) = reads(world, org, move |tx| {
            let wanted = wanted.clone();
            async move { runs::list(tx, owner, &wanted).await }.boxed()
        })
        .await;
        all.push((what, rows));
    }
    all.push(("the current turn", reads(world, org, move |tx| runs::current_turn(tx, owner, thread).boxed()).await.1));
    let (_, rows) = reads(world, Scope::System, move |tx| {
        async move {
            runs::newest_turns(tx, &[(owner, thread)]).await?;
            orgs::members_among(tx, &[(owner, user)]).await
        }
        .boxed()
    })
    .await;
    all.push(("look at the thread for its viewers", rows));
    all.push(("the next turn", reads(world, org, move |tx| runs::next_turn(tx, owner, thread, None).boxed()).await.1));
    let (_, rows) = reads(world, org, move |tx| {
        let wanted = ListThreads { page: page(), agent: None, user: None };
        async move { threads::list(tx, owner, &wanted).await }.boxed()
    })
    .await;
    all.push(("list threads", rows));
    let (_, rows) = reads(world, Scope::System, move |tx| {
        async move { maintenance::due(tx, &crate::fixture::LEASES, Duration::ZERO).await }.boxed()
    })
    .await;
    all.push(("look for what is due", rows));
    all
}

fn page() -> PageRequest {
    PageRequest { page_size: 20, ..PageRequest::default() }
}

/// Leaves the indexes of open runs large and empty, and those of all runs small: to a planner who knows no more, an index of all
/// runs is the cheaper way in wherever it may be used.
pub async fn mislead_the_planner(world: &World) {
    let rows = "gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 1";
    let columns = "id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version, fence, needs,
      created_at, changed_at, claimed_at, session_id, place";
    let mut text =
        "ALTER TABLE runs SET (autovacuum_enabled = off); ALTER TABLE threads SET (autovacuum_enabled = off);".to_owned();
    for (state, session) in [("ready", "NULL"), ("queued", "NULL"), ("running", "gen_random_uuid()")] {
        text.push_str(&format!(
            "INSERT INTO runs ({columns})
             SELECT {rows}, '{state}', 1, 1, '{{}}', now(), now(), now(), {session}, 1 FROM generate_series(1, {OVER}) n;"
        ));
    }
    text.push_str(&format!(
        "INSERT INTO threads (id, org_id, user_id, agent_id)
         SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid() FROM generate_series(1, {OVER}) n;
         DELETE FROM runs; DELETE FROM threads WHERE org_id <> '{}';",
        world.org.uuid()
    ));
    server::execute(&world.url, &text).await;
    for index in ["runs_of_state", "runs_turn", "runs_over_of_thread", "runs_pkey", "threads_newest"] {
        server::execute(&world.url, &format!("REINDEX INDEX {index}")).await;
    }
}

#[tokio::test]
async fn runs_that_are_over_cost_nothing() {
    let world = World::new().await;
    let (thread, session) = (world.thread().await, world.session().await);
    mislead_the_planner(&world).await;
    // Now every plan is made, of tables as good as empty.
    life_of_a_run(&world, thread, session).await;
    let made = format!(
        "INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version, fence, needs,
           created_at, changed_at, ended_at, place)
         SELECT gen_random_uuid(), '{org}', '{thread}', '{user}', '{agent}', 1, 1000 + n, 'completed', 4, 1, '{{}}',
           now(), now(), now(), 1000 + n FROM generate_series(1, {OVER}) n;
         INSERT INTO threads (id, org_id, user_id, agent_id, deleted_at)
         SELECT gen_random_uuid(), '{org}', '{user}', '{agent}', now() FROM generate_series(1, {OVER}) n;
         UPDATE threads SET next_turn = {OVER} + 1001, next_place = {OVER} + 1001 WHERE id = '{thread}'",
        org = world.org.uuid(),
        thread = thread.uuid(),
        user = world.user.uuid(),
        agent = world.agent.uuid(),
    );
    server::execute(&world.url, &made).await;
    let read = life_of_a_run(&world, thread, session).await;
    let many: Vec<_> = read.iter().filter(|(_, rows)| *rows > ROWS_MAX).collect();
    assert!(many.is_empty(), "read more than {ROWS_MAX} rows: {many:?}");
    assert!(read.iter().any(|(_, rows)| *rows > 0), "nothing was counted: {read:?}");
}

/// Rows that one look of a sweep goes by.
const LOOK: u32 = 50;

#[tokio::test]
async fn a_sweep_costs_what_it_looks_at_and_not_what_waits() {
    let world = World::new().await;
    mislead_the_planner(&world).await;
    let looks = || async {
        let due = reads(&world, Scope::System, |tx| {
            async move { maintenance::due(tx, &crate::fixture::LEASES, Duration::ZERO).await }.boxed()
        });
        let (due, of_due) = due.await;
        let heads = reads(&world, Scope::System, |tx| runs::promote_free_threads(tx, FreeThreadsFrom::default(), LOOK).boxed());
        let ((promoted, _), of_heads) = heads.await;
        let unserved = reads(&world, Scope::System, |tx| {
            runs::fail_unserved(tx, Duration::from_secs(60), UnservedFrom::default(), LOOK).boxed()
        });
        let ((failed, _), of_unserved) = unserved.await;
        assert_eq!((promoted, failed), (vec![], vec![]), "every thread is held, and every run has a worker");
        let expired = reads(&world, Scope::System, |tx| actions::expire_due(tx, LOOK).boxed());
        let keys = reads(&world, Scope::System, |tx| idempotency::purge(tx, LOOK).boxed());
        let sessions = reads(&world, Scope::System, |tx| sessions::purge(tx, LOOK).boxed());
        let ((expired, of_expired), (keys, of_keys), (sessions, of_sessions)) = (expired.await, keys.await, sessions.await);
        assert_eq!((expired, keys, sessions), (vec![], 0, 0), "all are young");
        (due.unserved, [of_due, of_heads, of_unserved, of_expired, of_keys, of_sessions])
    };
    // Now every plan is made, of tables as good as empty.
    assert!(!looks().await.0);
    world.session().await;
    let columns =
        "id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version, fence, needs, created_at,
      changed_at, place, rank";
    let run = |count: i64, thread: &str, state: &str, (turn, since): (&str, &str)| {
        format!(
            "INSERT INTO runs ({columns})
             SELECT gen_random_uuid(), '{org}', {thread}, gen_random_uuid(), '{agent}', 1, {turn}, '{state}', 1, 0, '{{}}', now(),
               now() - interval '{since}', CASE WHEN '{state}' = 'ready' THEN n END, {turn} FROM generate_series(1, {count}) n;",
            org = world.org.uuid(),
            agent = world.agent.uuid()
        )
    };
    let many = [
        run(20_000, "md5((n % 20000)::text)::uuid", "ready", ("1", "1 hour")),
        run(20_000, "gen_random_uuid()", "ready", ("1", "0")),
        run(100_000, "md5((n % 20000)::text)::uuid", "queued", ("1 + n", "1 hour")),
        format!(
            "INSERT INTO pending_actions (id, org_id, run_id, thread_id, kind, payload, digest, state, created_at, expires_at)
             SELECT gen_random_uuid(), '{org}', gen_random_uuid(), gen_random_uuid(), 'recovery', '{{}}', sha256(''), 'pending', now(),
               now() + interval '1 hour' FROM generate_series(1, 20000) n;
             INSERT INTO idempotency_keys (org_id, user_id, method, key, digest, response, created_at)
             SELECT '{org}', gen_random_uuid(), 'm', 'k', sha256(''), '', now() FROM generate_series(1, 20000) n;
             INSERT INTO run_transitions (run_id, version, org_id, to_state, cause, fence, at, record)
             SELECT gen_random_uuid(), 1, '{org}', 'running', 'claimed', 1, now() + interval '1 hour', '{{}}' FROM generate_series(1, 20000) n;
             UPDATE runs SET state = 'running', session_id = gen_random_uuid(), claimed_at = now(), fence = 1, cancel = 'now',
               cancel_at = now() + interval '1 hour' WHERE id IN (SELECT id FROM runs WHERE state = 'ready' AND place <= 5000);
             INSERT INTO worker_sessions (id, credential, worker, capacity, tools, opened_at, heartbeat_at, lease_ends_at, lost_at,
               drained)
             SELECT gen_random_uuid(), 'c', 'w', 1, '{{}}', now(), now(), now(), now(), true FROM generate_series(1, 20000) n;",
            org = world.org.uuid()
        ),
    ];
    server::execute(&world.url, &many.concat()).await;
    let (unserved, read) = looks().await;
    assert!(unserved && read.iter().all(|rows| *rows <= ROWS_MAX), "{unserved}, {read:?}");
}

#[tokio::test]
async fn a_sweep_goes_round() {
    let world = World::new().await;
    let mut heads = Vec::new();
    for _ in 0..5 {
        let thread = world.thread().await;
        let first = world.send(thread, "1").await.run;
        heads.push(world.send(thread, "2").await.run);
        // As if the end of the first had promoted nobody.
        let end = format!("UPDATE runs SET state = 'canceled', ended_at = now() WHERE id = '{}'", first.uuid());
        server::execute(&world.url, &end).await;
    }
    let (mut from, mut promoted) = (FreeThreadsFrom::default(), Vec::new());
    for _ in 0..3 {
        let (some, next) = world.system(move |tx| runs::promote_free_threads(tx, from, 2).boxed()).await.unwrap();
        promoted.extend(some.into_iter().map(|committed| committed.ids.id));
        from = next;
    }
    promoted.sort();
    heads.sort();
    assert_eq!((promoted, from), (heads.clone(), FreeThreadsFrom::default()), "each once, and then from the first again");
    server::execute(&world.url, "UPDATE runs SET changed_at = changed_at - interval '61 s'").await;
    let (mut from, mut failed) = (UnservedFrom::default(), Vec::new());
    for _ in 0..3 {
        let older = Duration::from_secs(60);
        let (some, next) = world.system(move |tx| runs::fail_unserved(tx, older, from, 2).boxed()).await.unwrap();
        failed.extend(some.into_iter().map(|committed| committed.ids.id));
        from = next;
    }
    failed.sort();
    assert_eq!((failed, from), (heads, UnservedFrom::default()));
}
