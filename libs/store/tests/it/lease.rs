//! Sessions and their leases, on the database's clock.

use crate::fixture::{LEASES, QUEUES, REAPS, World, claim_for, credential, dispatched, lease, model_step};
use futures::FutureExt as _;
use runmesh_domain::id::{OrgId, RunId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::WorkerCredential;
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Refusal};
use runmesh_store::runs;
use runmesh_store::sessions::{self, Beat};

async fn beat(world: &World, session: SessionId, number: i64, held: Vec<(RunId, u64)>) -> Beat {
    sessions::heartbeat(&world.db, session, &credential(), number, held, &LEASES).await.unwrap()
}

async fn cut(world: &World, session: SessionId, number: i64) -> bool {
    world.system(move |tx| runs::cut(tx, session, number).boxed()).await.unwrap()
}

async fn reopen(world: &World, session: SessionId, credential: WorkerCredential) -> runmesh_domain::Result<i64> {
    let reopened = world.system(move |tx| {
        let credential = credential.clone();
        async move { sessions::reopen(tx, session, &credential, &LEASES).await }.boxed()
    });
    reopened.await
}

fn named(id: &str) -> WorkerCredential {
    WorkerCredential { id: id.into(), ..credential() }
}

async fn pass_the_cut(world: &World) {
    crate::server::execute(
        &world.url,
        "UPDATE worker_sessions SET cut_ends_at = clock_timestamp() WHERE cut_ends_at IS NOT NULL",
    )
    .await;
}

#[tokio::test]
async fn a_heartbeat_tells_what_is_lost_and_what_is_canceled() {
    let world = World::new().await;
    let session = world.session().await;
    let (kept, canceled, lost) = (world.running(session).await, world.running(session).await, world.running(session).await);
    world.cancel(canceled.run).await.unwrap();
    world.release(lost).await.unwrap();
    let held = [kept, canceled, lost].map(|lease| (lease.run, lease.fence)).to_vec();
    let heard = beat(&world, session, 1, held.clone()).await;
    assert_eq!(heard, Beat { ok: true, is_renewed: true, lost: vec![lost.run], cancel: vec![canceled.run] });
    world.expire(session).await;
    world.reap().await;
    let heard = beat(&world, session, 1, held.clone()).await;
    assert_eq!((heard.ok, heard.lost.len()), (false, 3), "dead for good");
}

#[tokio::test]
async fn a_session_is_its_whole_credentials() {
    let world = World::new().await;
    let other = world.other("two").await;
    let (here, there) = (world.org, other.org);
    let bound = |orgs: Option<Vec<OrgId>>, agents| WorkerCredential { id: "same".into(), orgs, agents };
    let both = bound(Some(vec![here, there]), None);
    let opened = both.clone();
    let session = world.session_with(&LEASES, |new| new.credential = opened).await;
    let run = world.running(session).await;
    let strangers = [
        bound(Some(vec![there]), None),
        bound(Some(vec![here]), None),
        bound(None, None),
        bound(Some(vec![here, there]), Some(vec![world.agent])),
        WorkerCredential { id: "other".into(), ..both.clone() },
    ];
    for stranger in strangers {
        let heard = sessions::heartbeat(&world.db, session, &stranger, 1, vec![(run.run, run.fence)], &LEASES).await.unwrap();
        assert_eq!(heard, Beat { ok: false, is_renewed: false, lost: vec![run.run], cancel: vec![] }, "{stranger:?}");
        let lost = Err(Error::Refused(Refusal::SessionLost));
        assert_eq!(reopen(&world, session, stranger.clone()).await, lost, "{stranger:?}");
    }
    let turned = bound(Some(vec![there, here]), None);
    let heard = sessions::heartbeat(&world.db, session, &turned, 1, vec![(run.run, run.fence)], &LEASES).await.unwrap();
    assert_eq!((heard.ok, heard.lost), (true, vec![]), "the order of orgs says nothing");
    assert_eq!(reopen(&world, session, turned).await, Ok(2));
    assert_eq!(world.state(run.run).await, StateName::Running);
}

#[tokio::test]
async fn a_run_that_its_holder_does_not_name_comes_back() {
    let world = World::new().await;
    let session = world.session().await;
    let (named, dropped) = (world.running(session).await, world.running(session).await);
    let held = vec![(named.run, named.fence)];
    beat(&world, session, 1, held.clone()).await;
    assert!(world.reap().await.is_empty(), "claimed just now: the assignment may be on its way");
    crate::server::execute(&world.url, "UPDATE runs SET claimed_at = claimed_at - interval '401 s'").await;
    beat(&world, session, 1, held).await;
    let reaped = world.reap().await;
    assert_eq!(reaped.iter().map(|(run, _)| *run).collect::<Vec<_>>(), [dropped.run]);
    assert_eq!(world.state(named.run).await, StateName::Running);
}

#[tokio::test]
async fn a_cut_takes_safe_runs_only_and_not_against_the_cap() {
    let world = World::new().await;
    let session = world.session().await;
    let (safe, unsafe_run) = (world.running(session).await, world.running(session).await);
    world.record(unsafe_run, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    assert!(cut(&world, session, 1).await);
    assert!(world.reap().await.is_empty(), "a second is left");
    let wish = claim_for(session, 1, QUEUES);
    assert_eq!(world.try_claim(wish).await, Err(Error::Refused(Refusal::SessionLost)), "takes no new run");
    pass_the_cut(&world).await;
    let heard = beat(&world, session, 1, vec![(safe.run, safe.fence)]).await;
    assert!(heard.ok && !heard.is_renewed, "a heartbeat under the old number does not undo the cut, and says so");
    let reaped = world.reap().await;
    assert_eq!(reaped.iter().map(|(run, _)| *run).collect::<Vec<_>>(), [safe.run]);
    assert_eq!(world.get(safe.run).await.run.barren_attempts, 0);
    assert_eq!(world.state(unsafe_run.run).await, StateName::Running, "keeps its whole lease");
    world.expire(session).await;
    world.reap().await;
    assert_eq!(world.state(unsafe_run.run).await, StateName::Waiting);
}

#[tokio::test]
async fn a_worker_that_comes_back_undoes_the_cut() {
    let world = World::new().await;
    let session = world.session().await;
    let held = world.running(session).await;
    assert!(cut(&world, session, 1).await);
    assert_eq!(reopen(&world, session, named("other")).await, Err(Error::Refused(Refusal::SessionLost)));
    assert_eq!(reopen(&world, session, credential()).await, Ok(2));
    assert!(!cut(&world, session, 1).await, "names a stream that is no longer the newest");
    assert!(world.reap().await.is_empty());
    assert!(cut(&world, session, 2).await);
    pass_the_cut(&world).await;
    assert!(beat(&world, session, 3, vec![(held.run, held.fence)]).await.is_renewed);
    assert!(world.reap().await.is_empty(), "a newer number lengthens it");
    world.expire(session).await;
    world.reap().await;
    assert_eq!(reopen(&world, session, credential()).await, Err(Error::Refused(Refusal::SessionLost)));
}

#[tokio::test]
async fn leases_end_by_the_clock_of_the_database() {
    let world = World::new().await;
    let short = Leases { lease_ms: 50, ..LEASES };
    let session = world.session_with(&short, |_| {}).await;
    let sent = world.send(world.thread().await, "x").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let claimed = world.try_claim(claim_for(session, 1, QUEUES)).await;
    while world.reap().await.is_empty() && claimed.is_ok() {
        assert!(std::time::Instant::now() < deadline, "never reaped");
    }
    assert_eq!(world.state(sent.run).await, StateName::Ready);
    assert!(!beat(&world, session, 1, vec![]).await.ok);
}

#[tokio::test]
async fn renewing_many_runs_writes_one_row() {
    let world = World::new().await;
    let session = world.session().await;
    for _ in 0..20 {
        world.send(world.thread().await, "x").await;
    }
    let held: Vec<_> = world.claim(session, 100).await.iter().map(|one| lease(&one.row)).map(|l| (l.run, l.fence)).collect();
    assert_eq!(held.len(), 20);
    // A row that is written gets a new place.
    let places = "SELECT string_agg(id::text || ctid::text, ',' ORDER BY id) FROM runs";
    let before: String = crate::server::value(&world.url, places).await;
    assert!(beat(&world, session, 1, held).await.ok);
    assert_eq!(crate::server::value::<String>(&world.url, places).await, before);
}

#[tokio::test]
async fn people_see_who_works_for_them() {
    let world = World::new().await;
    let other = world.other("two").await;
    let session = world.session().await;
    world.running(session).await;
    let org = world.org;
    let only_one = world.session_with(&LEASES, |new| new.credential.orgs = Some(vec![org])).await;
    let list = |world: &World| {
        let (world, org) = (world.clone(), world.org);
        async move { world.org_tx(move |tx| async move { sessions::list(tx, org, &LEASES, 0).await }.boxed()).await.unwrap() }
    };
    let seen = list(&world).await;
    assert_eq!(seen.iter().map(|row| (row.session, row.run_count)).collect::<Vec<_>>(), [(only_one, 0), (session, 1)]);
    assert!(seen.iter().all(|row| row.live));
    assert_eq!(list(&other).await.iter().map(|row| row.session).collect::<Vec<_>>(), [session]);
    world.expire(session).await;
    world.reap().await;
    assert!(!list(&other).await[0].live);
}

#[tokio::test]
async fn a_heartbeat_that_comes_late_revives_a_session_that_nobody_lost() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await;
    world.expire(session).await;
    assert!(beat(&world, session, 1, vec![(run.run, run.fence)]).await.is_renewed);
    assert!(world.reap().await.is_empty());
    assert_eq!(world.state(run.run).await, StateName::Running);
    world.expire(session).await;
    assert_eq!(reopen(&world, session, credential()).await, Ok(2));
    assert!(world.reap().await.is_empty());
    world.expire(session).await;
    assert_eq!(world.reap().await.len(), 1);
    assert!(!beat(&world, session, 2, vec![]).await.ok, "dead for good");
}

#[tokio::test]
async fn a_run_whose_session_comes_back_before_its_turn_stays() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await;
    assert!(cut(&world, session, 1).await);
    pass_the_cut(&world).await;
    // Between the reaper's look and the run's turn: when the reaper locks the run's thread, the stream is open again.
    let text = format!(
        "CREATE FUNCTION come_back() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
           UPDATE worker_sessions SET stream_number = 2, cut_number = NULL, cut_ends_at = NULL WHERE id = '{}';
           RETURN true; END $$;
         CREATE POLICY come_back ON threads AS RESTRICTIVE TO runmesh_system USING (come_back())",
        session.uuid()
    );
    crate::server::execute(&world.url, &text).await;
    assert!(world.reap().await.is_empty());
    assert_eq!(world.state(run.run).await, StateName::Running);
    let numbers: i64 = crate::server::value(&world.url, "SELECT stream_number FROM worker_sessions").await;
    assert_eq!(numbers, 2, "it did come back in between");
}

#[tokio::test]
async fn runs_of_sessions_that_are_not_there_come_back() {
    let world = World::new().await;
    let (there, missing) = (world.session().await, world.session().await);
    let (kept, lost) = (world.running(there).await, world.running(missing).await);
    world.reap().await;
    let reap = || async { runs::reap_orphans(&world.db, &REAPS, 10).await.unwrap() };
    assert!(reap().await.is_empty());
    crate::server::execute(&world.url, &format!("DELETE FROM worker_sessions WHERE id = '{}'", missing.uuid())).await;
    assert!(world.reap().await.is_empty());
    assert_eq!(reap().await.iter().map(|(run, _)| *run).collect::<Vec<_>>(), [lost.run]);
    assert_eq!((world.state(kept.run).await, world.state(lost.run).await), (StateName::Running, StateName::Ready));
}

#[tokio::test]
async fn one_run_that_cannot_be_taken_back_keeps_no_other_from_it() {
    let world = World::new().await;
    let session = world.session().await;
    let (bad, good) = (world.running(session).await, world.running(session).await);
    world.record(bad, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    crate::server::execute(&world.url, &format!("DELETE FROM run_specs WHERE run_id = '{}'", bad.run.uuid())).await;
    world.expire(session).await;
    assert_eq!(world.reap().await.iter().map(|(run, _)| *run).collect::<Vec<_>>(), [good.run]);
}

/// As the reaper of one replica does it: batch after batch, until one takes nothing back.
#[tokio::test]
async fn all_runs_of_a_dead_session_come_back_in_one_sweep() {
    const COPIES: usize = 2_000;
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await;
    let (thread, one) = (run.thread.uuid(), run.run.uuid());
    let copies = format!(
        "CREATE TEMP TABLE copies AS SELECT gen_random_uuid() AS thread, gen_random_uuid() AS run FROM generate_series(1, {COPIES});
         INSERT INTO threads SELECT (jsonb_populate_record(t, jsonb_build_object('id', c.thread))).* FROM threads t, copies c
           WHERE t.id = '{thread}';
         INSERT INTO runs SELECT (jsonb_populate_record(r, jsonb_build_object('id', c.run, 'thread_id', c.thread))).*
           FROM runs r, copies c WHERE r.id = '{one}';
         INSERT INTO run_specs SELECT (jsonb_populate_record(s, jsonb_build_object('run_id', c.run))).* FROM run_specs s, copies c
           WHERE s.run_id = '{one}'"
    );
    crate::server::execute(&world.url, &copies).await;
    world.expire(session).await;
    let (mut back, mut batches) = (0, 0);
    loop {
        let reaped = world.reap().await.len();
        if reaped == 0 {
            break;
        }
        back += reaped;
        batches += 1;
    }
    assert_eq!(back, COPIES + 1);
    assert!(batches <= COPIES / 100, "{batches} batches: nothing is looked at twice");
    let left: i64 = crate::server::value(&world.url, "SELECT count(*) FROM runs WHERE state <> 'ready'").await;
    assert_eq!(left, 0);
}
