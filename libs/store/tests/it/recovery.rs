//! What becomes of a run whose holder leaves it.

use crate::fixture::{LEASES, QUEUES, REAPS, World, claim_for, dispatched, done, lease, model_step};
use futures::FutureExt as _;
use runmesh_domain::id::{AgentId, RunId};
use runmesh_domain::journal::{CALL_UNKNOWN, CallState};
use runmesh_domain::limits::{BARREN_ATTEMPTS_MAX, Queues};
use runmesh_domain::message::Part;
use runmesh_domain::path::StepKey;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::{Outcome, StateName};
use runmesh_domain::transition::{Cause, Record};
use runmesh_domain::{Error, Refusal, Result};
use runmesh_store::actions::{self, PendingAction};
use runmesh_store::runs::{Committed, UnservedFrom};
use runmesh_store::{PageRequest, maintenance, runs, steps};
use std::time::Duration;

async fn pending(world: &World) -> Vec<PendingAction> {
    let org = world.org;
    let page = world.org_tx(move |tx| async move { actions::list_pending(tx, org, &PageRequest::first()).await }.boxed());
    page.await.unwrap().items
}

async fn call_state(world: &World, run: RunId) -> CallState {
    world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap()[0].calls[0].state
}

#[tokio::test]
async fn nothing_unsafe_under_way_is_redone_by_the_next_attempt() {
    let world = World::new().await;
    let session = world.session().await;
    let lease_1 = world.running(session).await;
    world.record(lease_1, vec![model_step(1, "", &["read"]), dispatched(1, 0)]).await.unwrap();
    world.expire(session).await;
    let reaped = world.reap().await;
    let transition = &reaped[0].1[0].transition;
    assert_eq!((transition.to, transition.cause, transition.fence), (StateName::Ready, Cause::LeaseLost, 2));
    assert_eq!(transition.session, Some(session));
    assert!(world.reap().await.is_empty(), "once");

    let claimed = world.claim(world.session().await, 1).await;
    let lease_2 = lease(&claimed[0].row);
    assert_eq!(lease_2.fence, 3);
    let context = claimed[0].context.as_ref().unwrap();
    assert_eq!(context.steps[0].calls[0].state, CallState::Dispatched);
    // The same call with the same key, and then its result.
    world.record(lease_2, vec![dispatched(1, 0), done(1, 0, "r")]).await.unwrap();
    assert_eq!(call_state(&world, lease_2.run).await, CallState::Done);
}

#[tokio::test]
async fn an_unsafe_call_waits_for_a_person() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    world.record(lease, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    world.expire(session).await;
    let reaped = world.reap().await;
    assert!(matches!(&reaped[0].1[0].transition.record, Record::ApprovalRequested { summary, .. } if summary.contains("write")));
    let actions = pending(&world).await;
    assert_eq!((actions.len(), actions[0].run, actions[0].calls[0].name.as_str()), (1, lease.run, "write"));
    assert_eq!(actions[0].calls[0].arguments_digest.len(), 64);
    assert_eq!(call_state(&world, lease.run).await, CallState::Unknown);
    assert_eq!(world.state(lease.run).await, StateName::Waiting);
    let late = world.record(lease, vec![done(1, 0, "late")]).await;
    assert_eq!(late, Err(Error::Refused(Refusal::Fenced)));

    let (_, committed) = world.cancel(lease.run).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let parts = &finished.message.as_ref().unwrap().parts;
    assert!(matches!(&parts[2], Part::ToolResult { content, .. } if content == CALL_UNKNOWN));
    assert!(pending(&world).await.is_empty(), "withdrawn with its run");
}

#[tokio::test]
async fn what_comes_late_is_evidence_for_who_decides() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    world.record(lease, vec![model_step(1, "", &["write", "read"]), dispatched(1, 0), dispatched(1, 1)]).await.unwrap();
    world.late(lease, vec![done(1, 0, "too early")]).await;
    world.expire(session).await;
    world.reap().await;
    let stranger = LeaseClaim { fence: lease.fence + 1, ..lease };
    world.late(stranger, vec![done(1, 0, "of another attempt")]).await;
    world.late(LeaseClaim { org: world.other("two").await.org, ..lease }, vec![done(1, 0, "of another org")]).await;
    assert_eq!(pending(&world).await[0].late_results, vec![], "only from the attempt that made the call");
    world.late(lease, vec![done(1, 0, &"é".repeat(4_000)), done(1, 1, "nobody asks about it"), done(1, 9, "no such call")]).await;
    world.late(lease, vec![done(1, 0, "another word")]).await;
    let late = pending(&world).await.remove(0).late_results;
    let kept = late.iter().map(|late| (late.call.clone(), late.fence, late.content.as_str(), late.is_error));
    assert_eq!(
        kept.collect::<Vec<_>>(),
        [(StepKey::top(1).call(0), lease.fence, "é".repeat(2_048).as_str(), false)],
        "bounded, and the first stays"
    );
    assert_eq!(call_state(&world, lease.run).await, CallState::Unknown, "the journal is as it was");
    world.cancel(lease.run).await.unwrap();
    world.late(lease, vec![done(1, 1, "after the end")]).await;
    let rows: i64 = crate::server::value(&world.url, "SELECT count(*) FROM late_results").await;
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn nobody_deciding_aborts_the_run_and_frees_the_thread() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    let next = world.send(lease.thread, "next").await;
    world.record(lease, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    let (row, _) = world.release(lease).await.unwrap();
    assert_eq!((row.run.state.name(), row.run.fence), (StateName::Waiting, 1), "its holder gave it back");
    let expire = || world.system(|tx| actions::expire_due(tx, 10).boxed());
    assert_eq!(expire().await.unwrap(), vec![], "not yet");
    crate::server::execute(&world.url, "UPDATE pending_actions SET expires_at = clock_timestamp()").await;
    let committed = expire().await.unwrap();
    assert_eq!((committed[0].transition.to, committed[1].ids.id), (StateName::Aborted, next.run));
    let state: String = crate::server::value(&world.url, "SELECT state FROM pending_actions").await;
    assert_eq!(state, "expired");
}

#[tokio::test]
async fn an_agent_may_want_to_fail_instead() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running_on(session, world.thread_that_fails().await).await;
    world.record(lease, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    let (row, _) = world.release(lease).await.unwrap();
    let (reason, detail) = row.run.state.reason_and_detail();
    assert!(reason == "OUTCOME_UNKNOWN" && detail.contains("write"), "{reason}: {detail}");
}

#[tokio::test]
async fn a_release_is_ready_at_once_and_its_repeat_changes_nothing() {
    let world = World::new().await;
    let session = world.session().await;
    let lease_1 = world.running(session).await;
    let (row, committed) = world.release(lease_1).await.unwrap();
    assert_eq!((row.run.state.name(), row.run.barren_attempts), (StateName::Ready, 0), "does not count against the cap");
    assert_eq!(committed[0].transition.cause, Cause::Released);
    assert_eq!(world.release(lease_1).await.unwrap(), (row, vec![]));
    world.claim(session, 1).await;
    assert_eq!(world.release(lease_1).await.map(|_| ()), Err(Error::Refused(Refusal::Fenced)));
}

#[tokio::test]
async fn attempts_that_get_nowhere_end_the_run() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    for attempt in 1..=BARREN_ATTEMPTS_MAX {
        let session = world.session().await;
        assert_eq!(world.claim(session, 1).await.len(), 1, "attempt {attempt}");
        world.expire(session).await;
        world.reap().await;
        world.end_waits().await;
    }
    let row = world.get(sent.run).await;
    assert_eq!(row.run.state.reason_and_detail().0, "ATTEMPTS_EXHAUSTED");
}

#[tokio::test]
async fn progress_starts_the_count_anew() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    for attempt in 1..=2 * BARREN_ATTEMPTS_MAX {
        let session = world.session().await;
        let claimed = world.claim(session, 1).await;
        world.record(lease(&claimed[0].row), vec![model_step(attempt, "x", &[])]).await.unwrap();
        world.expire(session).await;
        world.reap().await;
    }
    assert_eq!(world.state(sent.run).await, StateName::Ready);
}

#[tokio::test]
async fn a_cancel_that_was_acknowledged_wins_over_a_lost_lease() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    world.record(lease, vec![model_step(1, "so far", &[])]).await.unwrap();
    let (row, committed) = world.cancel(lease.run).await.unwrap();
    assert_eq!((row.run.state.name(), row.run.is_cancel_requested(), committed), (StateName::Running, true, vec![]));
    assert!(world.record(lease, vec![model_step(2, "x", &[])]).await.unwrap().cancel_requested);
    world.expire(session).await;
    world.reap().await;
    assert_eq!(world.state(lease.run).await, StateName::Canceled);
    let messages = world.messages(lease.thread).await;
    assert!(messages[1].unfinished && messages[1].parts[0] == Part::text("so far"), "what was produced is kept");
}

#[tokio::test]
async fn only_those_concerned_may_cancel() {
    let world = World::new().await;
    let other = world.other("two").await;
    let sent = world.send(world.thread().await, "x").await;
    assert_eq!(other.cancel(sent.run).await.map(|_| ()), Err(Error::Refused(Refusal::NotFound { what: "run" })));
    let (org, run) = (world.org, sent.run);
    let stranger = runmesh_domain::id::UserId::from_uuid(crate::fixture::id());
    let answer = world.org_tx(move |tx| runs::cancel(tx, org, stranger, run).boxed()).await;
    assert!(matches!(answer, Err(Error::Refused(Refusal::PermissionDenied { .. }))));
}

async fn fail_unserved(world: &World, after: Duration) -> Result<Vec<Committed>> {
    let failed = world.system(move |tx| runs::fail_unserved(tx, after, UnservedFrom::default(), 10).boxed());
    Ok(failed.await?.0)
}

#[tokio::test]
async fn a_run_that_nobody_serves_fails_in_the_end() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    let fail = |after| fail_unserved(&world, after);
    assert_eq!(fail(Duration::from_secs(60)).await.unwrap(), vec![]);
    crate::server::execute(&world.url, "UPDATE runs SET changed_at = changed_at - interval '61 s'").await;
    let committed = fail(Duration::from_secs(60)).await.unwrap();
    assert_eq!((committed[0].ids.id, committed[0].transition.cause), (sent.run, Cause::NoWorker));
}

#[tokio::test]
async fn a_run_that_waits_for_room_is_not_given_up() {
    let world = World::new().await;
    let session = world.session().await;
    let queues = Queues { running_per_user_max: 1, ..QUEUES };
    let (first, second) = (world.send(world.thread().await, "x").await, world.send(world.thread().await, "y").await);
    let claimed = world.try_claim(claim_for(session, 10, queues)).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.row.run.id).collect::<Vec<_>>(), [first.run], "the second is over the limit");
    let fail = || fail_unserved(&world, Duration::from_secs(60));
    crate::server::execute(&world.url, "UPDATE runs SET changed_at = changed_at - interval '61 s'").await;
    assert_eq!(fail().await.unwrap(), vec![], "there is a worker for it");
    world.expire(session).await;
    world.reap().await;
    crate::server::execute(&world.url, "UPDATE runs SET changed_at = changed_at - interval '61 s'").await;
    assert_eq!(fail().await.unwrap(), vec![], "there was one a second ago");
    crate::server::execute(&world.url, "UPDATE worker_sessions SET lost_at = clock_timestamp() - interval '61 s'").await;
    world.session_with(&LEASES, |new| new.agents = vec![AgentId::from_uuid(crate::fixture::id())]).await;
    let committed = fail().await.unwrap();
    assert_eq!((committed[0].ids.id, committed[0].transition.cause), (second.run, Cause::NoWorker), "only one for other agents");
}

async fn reap_hung(world: &World) -> Vec<RunId> {
    runs::reap_hung(&world.db, &REAPS, 100).await.unwrap().into_iter().map(|(run, _)| run).collect()
}

#[tokio::test]
async fn a_worker_that_hangs_keeps_no_run() {
    let world = World::new().await;
    let session = world.session().await;
    let (canceled, slow, patient, odd, missing) = (
        world.running(session).await,
        world.running(session).await,
        world.running(session).await,
        world.running(session).await,
        world.running(session).await,
    );
    world.cancel(canceled.run).await.unwrap();
    world.reap().await;
    let is_due = async || {
        let due = world.system(|tx| async move { maintenance::due(tx, &LEASES, Duration::ZERO).await }.boxed());
        due.await.unwrap().overdue_cancels
    };
    assert!(!is_due().await);
    assert_eq!(reap_hung(&world).await, [], "the cancel is younger than a lease, and everybody was claimed just now");
    let set = |run: RunId, what: &str| {
        format!(
            "UPDATE run_specs SET spec = jsonb_set(spec, '{{agent,limits,progress_timeout_ms}}', '{what}') WHERE run_id = '{}';",
            run.uuid()
        )
    };
    let text = [
        format!("UPDATE runs SET cancel_at = clock_timestamp() - interval '601 s' WHERE id = '{}';", canceled.run.uuid()),
        set(patient.run, "7200000"),
        set(odd.run, "\"soon\""),
        format!("DELETE FROM run_specs WHERE run_id = '{}';", missing.run.uuid()),
        format!("UPDATE runs SET progress_at = clock_timestamp() - interval '61 min' WHERE id <> '{}'", canceled.run.uuid()),
    ];
    crate::server::execute(&world.url, &text.concat()).await;
    world.record(slow, vec![model_step(1, "", &["read"]), dispatched(1, 0)]).await.unwrap();
    assert!(is_due().await);
    let mut taken = reap_hung(&world).await;
    let mut wanted = vec![canceled.run, odd.run, missing.run];
    taken.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(taken, wanted, "a step is progress, and an agent may be patient");
    assert_eq!(world.state(canceled.run).await, StateName::Canceled);
    assert_eq!(world.state(odd.run).await, StateName::Ready);
    assert_eq!(world.get(odd.run).await.run.barren_attempts, 1, "it counts");
    for lost in [canceled, odd, missing] {
        let late = world.finish(lost, Outcome::Completed, None).await;
        assert!(matches!(late, Err(Error::Refused(Refusal::Fenced))), "R1: {late:?}");
    }
    crate::server::execute(&world.url, "UPDATE runs SET progress_at = progress_at - interval '61 min' WHERE state = 'running'")
        .await;
    let mut taken = reap_hung(&world).await;
    let mut wanted = vec![slow.run, patient.run];
    taken.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(taken, wanted, "everybody's patience ends");
}
