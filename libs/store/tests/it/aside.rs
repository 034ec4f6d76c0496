//! One run can never hurt another: what cannot be read, cannot be ended or kills its workers is kept apart.

use crate::fixture::{LEASES, QUEUES, World, dispatched, done, last, lease, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{RunId, ThreadId, UserId};
use runmesh_domain::limits::{CUT_ATTEMPTS_MAX, JOURNAL_BYTES_MAX, JOURNAL_CALLS_MAX};
use runmesh_domain::run::{Outcome, StateName};
use runmesh_domain::{Error, Refusal};
use runmesh_store::runs::{self, ListRuns};
use runmesh_store::{actions, outbox};

async fn sql(world: &World, text: String) {
    server::execute(&world.url, &text).await;
}

async fn why_aside(world: &World, run: RunId) -> String {
    world.get(run).await.set_aside
}

/// Claims until nothing is left, and answers what was claimed.
async fn claim_all(world: &World, session: runmesh_domain::id::SessionId) -> Vec<RunId> {
    world.claim(session, 50).await.iter().map(|claimed| claimed.row.run.id).collect()
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_set_aside_and_all_others_are_claimed() {
    let world = World::new().await;
    let other = world.other("two").await;
    let session = world.session().await;
    let (mut bad, mut good) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bad.push(world.send(world.thread().await, "bad").await.run);
        good.push(other.send(other.thread().await, "good").await.run);
    }
    good.push(world.send(world.thread().await, "good").await.run);
    let id = |n: usize| bad[n].uuid();
    sql(&world, format!("UPDATE run_specs SET spec = '[]' WHERE run_id = '{}'", id(0))).await;
    sql(&world, format!("DELETE FROM run_specs WHERE run_id = '{}'", id(1))).await;
    sql(&world, format!("UPDATE messages SET parts = '7' WHERE run_id = '{}'", id(2))).await;
    let mut claimed = claim_all(&world, session).await;
    claimed.sort_unstable();
    good.sort_unstable();
    assert_eq!(claimed, good);
    for run in &bad {
        assert!(!why_aside(&world, *run).await.is_empty(), "{run} says why");
        assert_eq!(world.state(*run).await, StateName::Ready);
    }
    assert_eq!(claim_all(&world, session).await, vec![], "they are not picked again");
    let run = bad[0];
    let blocked = world.system(move |tx| runs::blocked_by(tx, run, &QUEUES).boxed()).await.unwrap();
    assert_eq!(blocked, Some(runs::BlockedBy::SetAside));
    // Whoever may cancel a run ends it all the same.
    for run in &bad {
        world.cancel(*run).await.unwrap();
        assert_eq!(world.state(*run).await, StateName::Canceled);
    }
}

#[tokio::test]
async fn a_lost_run_that_cannot_be_read_keeps_no_other_from_coming_back() {
    let world = World::new().await;
    let session = world.session().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let run = world.running(session).await;
        world.record(run, vec![model_step(1, "x", &["read"]), dispatched(1, 0)]).await.unwrap();
        runs.push(run.run);
    }
    sql(&world, format!("UPDATE calls SET verdict = '7' WHERE run_id = '{}'", runs[0].uuid())).await;
    sql(&world, format!("UPDATE calls SET idempotent = false WHERE run_id = '{}'", runs[1].uuid())).await;
    sql(&world, format!("DELETE FROM run_specs WHERE run_id = '{}'", runs[1].uuid())).await;
    world.expire(session).await;
    let mut reaped: Vec<_> = world.reap().await.into_iter().map(|(run, _)| run).collect();
    reaped.sort_unstable();
    // A verdict that this version does not know is one that lets nothing run, and no reason to leave the run.
    assert_eq!(reaped, [runs[0], runs[2]]);
    assert_eq!(world.reap().await.len(), 0);
    assert!(!why_aside(&world, runs[1]).await.is_empty());
}

#[tokio::test]
async fn a_question_that_cannot_expire_keeps_no_other_from_it() {
    let world = World::new().await;
    let session = world.session().await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = world.running(session).await;
        world.record(run, vec![model_step(1, "x", &["write"]), dispatched(1, 0)]).await.unwrap();
        world.release(run).await.unwrap();
        runs.push(run.run);
    }
    let unknown = "ALTER TABLE runs DROP CONSTRAINT runs_kind_check, DROP CONSTRAINT only_turns_have_a_number";
    sql(&world, format!("{unknown}; UPDATE runs SET kind = 'a saga' WHERE id = '{}'", runs[0].uuid())).await;
    sql(&world, "UPDATE pending_actions SET expires_at = now() - interval '1 s'".to_owned()).await;
    let expired = world.system(|tx| actions::expire_due(tx, 10).boxed()).await.unwrap();
    assert_eq!(expired.iter().map(|row| row.ids.id).collect::<Vec<_>>(), [runs[1]]);
    let aside: String = server::value(&world.url, &format!("SELECT set_aside FROM runs WHERE id = '{}'", runs[0].uuid())).await;
    assert!(aside.contains("a saga"), "{aside}");
    assert_eq!(world.system(|tx| actions::expire_due(tx, 10).boxed()).await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_transition_that_cannot_be_read_stops_no_feed() {
    let world = World::new().await;
    let (bad, good) = (world.send(world.thread().await, "bad").await.run, world.send(world.thread().await, "good").await.run);
    sql(&world, format!("UPDATE run_transitions SET cause = 'a whim' WHERE run_id = '{}'", bad.uuid())).await;
    let unfed = world.system(|tx| outbox::unfed(tx, outbox::Slice::whole(), 100).boxed()).await.unwrap().items;
    assert_eq!(unfed.iter().map(|(ids, _)| ids.id).collect::<Vec<_>>(), [good]);
}

/// A journal that is larger than a row may be: 300 results of 1 MiB.
async fn fill_journal(world: &World, run: RunId) {
    let text = format!(
        "INSERT INTO calls (run_id, step_index, call_index, org_id, call_id, name, arguments, state, verdict, idempotent, content,
           fence)
         SELECT '{run}', 1, n, '{org}', 'c' || n, 'read', '{{}}', 'done', '{{\"decision\": \"allow\"}}', true,
           repeat('x', 1048576), 1 FROM generate_series(1, 300) n;
         UPDATE runs SET journal_calls = 301, journal_bytes = 300 * 1048576 WHERE id = '{run}'",
        run = run.uuid(),
        org = world.org.uuid()
    );
    sql(world, text).await;
}

#[tokio::test]
async fn a_run_with_a_journal_beyond_every_bound_ends_and_others_with_it() {
    let world = World::new().await;
    let session = world.session().await;
    let mut big = Vec::new();
    for _ in 0..3 {
        let run = world.running(session).await;
        world.record(run, vec![model_step(1, "x", &["read"]), dispatched(1, 0), done(1, 0, "small")]).await.unwrap();
        fill_journal(&world, run.run).await;
        big.push(run);
    }
    let more = world.record(big[0], vec![model_step(2, "more", &[])]).await;
    let full = Refusal::JournalLimit { bytes_max: JOURNAL_BYTES_MAX, calls_max: JOURNAL_CALLS_MAX };
    assert_eq!(more, Err(Error::Refused(full)));
    world.finish(big[0], Outcome::Completed, Some(last(2, "done"))).await.unwrap();
    world.cancel(big[1].run).await.unwrap();
    let small = world.running(session).await;
    world.expire(session).await;
    assert_eq!(world.reap().await.len(), 3, "the canceled one, the third and the small one");
    for (run, state) in [(big[0].run, StateName::Completed), (big[1].run, StateName::Canceled), (small.run, StateName::Ready)] {
        assert_eq!(world.state(run).await, state);
    }
    let bytes: i64 = server::value(&world.url, "SELECT max(octet_length(parts::text))::int8 FROM messages").await;
    assert!(bytes < 12 << 20, "the message is bounded: {bytes}");
}

#[tokio::test]
async fn results_of_calls_under_way_go_into_a_full_journal_and_nothing_new_does() {
    let world = World::new().await;
    let run = world.running(world.session().await).await;
    world.record(run, vec![model_step(1, "x", &["read", "read"]), dispatched(1, 0)]).await.unwrap();
    sql(&world, format!("UPDATE runs SET journal_bytes = {JOURNAL_BYTES_MAX} WHERE id = '{}'", run.run.uuid())).await;
    world.record(run, vec![done(1, 0, "late")]).await.unwrap();
    for new in [dispatched(1, 1), model_step(2, "y", &[])] {
        let refused = world.record(run, vec![new]).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::JournalLimit { .. }))), "{refused:?}");
    }
    sql(
        &world,
        format!("UPDATE runs SET journal_bytes = 0, journal_calls = {JOURNAL_CALLS_MAX} WHERE id = '{}'", run.run.uuid()),
    )
    .await;
    assert!(world.record(run, vec![model_step(2, "y", &["read"])]).await.is_err());
    world.record(run, vec![model_step(2, "y", &[])]).await.unwrap();
    let row = world.get(run.run).await;
    assert!(row.journal.bytes > 0 && row.journal.calls == JOURNAL_CALLS_MAX);
}

/// Kills the worker of a run: a session that is cut, and whose cut has passed.
async fn kill(world: &World, session: runmesh_domain::id::SessionId) {
    let text = format!(
        "UPDATE worker_sessions SET cut_number = stream_number, cut_ends_at = clock_timestamp() - interval '1 s' WHERE id = '{}'",
        session.uuid()
    );
    sql(world, text).await;
}

#[tokio::test]
async fn a_run_that_kills_its_workers_is_slowed_down_kept_alone_and_ended() {
    let world = World::new().await;
    let busy = world.session().await;
    world.running(busy).await;
    let run = world.send(world.thread().await, "deadly").await.run;
    let mut waits = Vec::new();
    for attempt in 1..=CUT_ATTEMPTS_MAX {
        let session = world.session().await;
        if attempt > 3 {
            // A session that is busy with another run does not get it.
            assert!(!claim_all(&world, busy).await.contains(&run), "attempt {attempt}");
        }
        let bystander = world.send(world.thread().await, "harmless").await.run;
        let claimed = claim_all(&world, session).await;
        assert!(claimed.contains(&run), "attempt {attempt}");
        assert_eq!(claimed == [run], attempt > 3, "attempt {attempt} of {claimed:?}");
        if attempt > 3 {
            assert_eq!(claim_all(&world, session).await, vec![], "nothing goes beside it");
        }
        kill(&world, session).await;
        assert!(world.reap().await.iter().any(|(reaped, _)| *reaped == run));
        let row = world.get(run).await;
        waits.push(row.not_before.map_or(0, |at| at.since(row.changed_at).as_secs()));
        world.end_waits().await;
        world.cancel(bystander).await.unwrap();
        assert_eq!(row.run.state.name() == StateName::Failed, attempt == CUT_ATTEMPTS_MAX, "attempt {attempt}");
    }
    assert_eq!(world.get(run).await.run.state.reason_and_detail().0, "ATTEMPTS_EXHAUSTED");
    assert_eq!(waits[..8], [0, 1, 2, 4, 8, 16, 32, 60]);
}

#[tokio::test]
async fn progress_forgives_cuts_and_releases_wait_longer_and_longer() {
    let world = World::new().await;
    let session = world.session().await;
    let first = world.running(session).await;
    for wait in [0, 1, 2] {
        let row = world.get(first.run).await;
        world.release(lease(&row)).await.unwrap();
        let row = world.get(first.run).await;
        assert_eq!(row.not_before.map_or(0, |at| at.since(row.changed_at).as_secs()), wait);
        world.end_waits().await;
        let idle = world.session().await;
        assert_eq!(claim_all(&world, idle).await, [first.run]);
    }
    let row = world.get(first.run).await;
    assert_eq!(row.run.cut_attempts, 3);
    world.record(lease(&row), vec![model_step(1, "x", &[])]).await.unwrap();
    assert_eq!(world.get(first.run).await.run.cut_attempts, 0);
    let _ = LEASES;
}

async fn aside_of(world: &World, thread: Option<ThreadId>) -> Vec<RunId> {
    let (org, wish) = (world.org, ListRuns { set_aside: true, thread, ..ListRuns::default() });
    let listed = world.org_tx(move |tx| {
        let wish = wish.clone();
        async move { runs::list(tx, org, &wish).await }.boxed()
    });
    listed.await.unwrap().items.into_iter().map(|row| row.run.id).collect()
}

#[tokio::test]
async fn runs_set_aside_are_listed_and_counted_until_they_are_over() {
    let world = World::new().await;
    let threads = [world.thread().await, world.thread().await];
    let bad = [world.send(threads[0], "a").await.run, world.send(threads[1], "b").await.run];
    world.send(world.thread().await, "well").await;
    sql(
        &world,
        "UPDATE runs SET set_aside = 'why' WHERE id IN ".to_owned() + &format!("('{}', '{}')", bad[0].uuid(), bad[1].uuid()),
    )
    .await;
    assert_eq!(aside_of(&world, None).await, [bad[1], bad[0]]);
    assert_eq!(aside_of(&world, Some(threads[0])).await, [bad[0]]);
    assert_eq!(world.system(|tx| runs::count_aside(tx, 10).boxed()).await, Ok(2));
    assert_eq!(world.system(|tx| runs::count_aside(tx, 1).boxed()).await, Ok(1));
    world.cancel(bad[0]).await.unwrap();
    assert_eq!(aside_of(&world, None).await, [bad[1]]);
}

/// While somebody's old transaction is open, vacuum removes nothing: what is counted then is what slows claims down.
#[tokio::test]
async fn row_versions_that_vacuum_cannot_remove_are_counted() {
    let world = World::new().await;
    world.send(world.thread().await, "a").await;
    assert_eq!(world.system(|tx| runs::count_dead_rows(tx).boxed()).await, Ok(0));
    // Postgres counts them when the statement is over, if it is asked to.
    let updates = "DO $$ BEGIN FOR n IN 1..300 LOOP UPDATE runs SET set_aside = n::text; END LOOP; END $$";
    sql(&world, format!("{updates}; SELECT pg_stat_force_next_flush()")).await;
    let dead = world.system(|tx| runs::count_dead_rows(tx).boxed()).await.unwrap();
    assert!(dead >= 300, "{dead}");
}

/// The run's own row is of a newer version, or was changed by hand.
#[tokio::test]
async fn a_run_whose_row_cannot_be_read_hides_no_other_and_is_ended_by_a_person() {
    let world = World::new().await;
    let thread = world.thread().await;
    let (paused, next) = (world.send(thread, "a").await.run, world.send(thread, "b").await.run);
    let (saga, well) = (world.send(world.thread().await, "c").await.run, world.send(world.thread().await, "d").await.run);
    let unknown = "ALTER TABLE runs DROP CONSTRAINT runs_kind_check, DROP CONSTRAINT only_turns_have_a_number,
      DROP CONSTRAINT runs_state_check";
    let (one, other) = (paused.uuid(), saga.uuid());
    let change =
        format!("UPDATE runs SET state = 'paused' WHERE id = '{one}'; UPDATE runs SET kind = 'a saga' WHERE id = '{other}'");
    sql(&world, format!("{unknown}; {change}")).await;

    let org = world.org;
    let listed = world.org_tx(move |tx| async move { runs::list(tx, org, &ListRuns::default()).await }.boxed()).await.unwrap();
    assert_eq!(listed.items.iter().map(|row| row.run.id).collect::<Vec<_>>(), [well, next]);
    let (tx_org, stranger) = (world.org, UserId::from_uuid(crate::fixture::id()));
    let refused = world.org_tx(move |tx| async move { runs::cancel(tx, tx_org, stranger, saga).await }.boxed()).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::PermissionDenied { .. }))), "{refused:?}");
    let kind: String = server::value(&world.url, &format!("SELECT kind FROM runs WHERE id = '{other}'")).await;
    assert_eq!(kind, "a saga", "who may not end the run changes nothing about it");

    for run in [paused, saga] {
        let (row, committed) = world.cancel(run).await.unwrap();
        assert_eq!((row.run.state.name(), committed.len()), (StateName::Canceled, 1), "{row:?}");
        assert!(!row.set_aside.is_empty(), "why stays with the row");
        let rows = world.system(move |tx| runs::log_rows(tx, run, 1, false).boxed()).await.unwrap().transitions;
        assert_eq!(rows.len(), 1, "the log shows the end");
    }
    let promoted = world.system(|tx| runs::promote_free_threads(tx, Default::default(), 100).boxed()).await.unwrap().0;
    assert_eq!(promoted.iter().map(|row| row.ids.id).collect::<Vec<_>>(), [next]);
}

/// It cannot be taken back by itself, so that only its cancel ends it.
#[tokio::test]
async fn a_running_run_that_was_set_aside_ends_once_it_is_canceled() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await;
    world.record(run, vec![model_step(1, "x", &["write"]), dispatched(1, 0)]).await.unwrap();
    sql(&world, format!("DELETE FROM run_specs WHERE run_id = '{}'", run.run.uuid())).await;
    world.expire(session).await;
    assert_eq!(world.reap().await.len(), 0);
    assert!(!why_aside(&world, run.run).await.is_empty());
    world.cancel(run.run).await.unwrap();
    assert_eq!(world.state(run.run).await, StateName::Running, "its worker may still end it");
    assert_eq!(world.reap().await.len(), 1);
    assert_eq!(world.state(run.run).await, StateName::Canceled);
}
