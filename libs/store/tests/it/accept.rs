//! Accepting messages: what is stored, and every refusal.

use crate::fixture::{QUEUES, World, id};
use futures::FutureExt as _;
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::{AgentId, ThreadId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Cause;
use runmesh_domain::{Error, Refusal};
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::idempotency::{self, Key};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_store::runs::{self, NewMessage, OnBusy};
use runmesh_store::threads;
use runmesh_store::{Purged, purge};
use std::time::Duration;

/// Longer than any purge here takes.
const PURGING: Duration = Duration::from_secs(60);

fn refusal<T: std::fmt::Debug>(answer: runmesh_domain::Result<T>) -> Refusal {
    match answer {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_first_is_ready_and_the_second_waits_behind_it() {
    let world = World::new().await;
    let thread = world.thread().await;
    let first = world.send(thread, "  tell me\na story ").await;
    let second = world.send(thread, "another").await;
    assert_eq!((first.turn_number, first.queue_position, first.ready), (1, 0, true));
    assert_eq!((second.turn_number, second.queue_position, second.ready), (2, 1, false));
    assert_eq!(world.state(first.run).await, StateName::Ready);
    assert_eq!(world.state(second.run).await, StateName::Queued);
    assert_eq!(first.committed[0].transition.cause, Cause::Accepted);

    let (org, run) = (world.org, first.run);
    let history = world.org_tx(move |tx| runs::history(tx, org, run).boxed()).await.unwrap();
    assert_eq!(history, vec![first.committed[0].transition.clone()]);
    let stored = world.org_tx(move |tx| threads::get(tx, org, thread).boxed()).await.unwrap();
    assert_eq!(stored.title, "tell me a story");
    let queue = world.org_tx(move |tx| runs::queue(tx, org, thread).boxed()).await.unwrap();
    assert_eq!(queue.iter().map(|row| row.run.id).collect::<Vec<_>>(), [first.run, second.run]);
    let seen = world.org_tx(move |tx| runs::state_of(tx, org, second.run).boxed()).await.unwrap();
    assert_eq!(seen.queue_position, 1);
}

#[tokio::test]
async fn who_may_not_send_is_told_so_or_told_nothing() {
    let world = World::new().await;
    let other = world.other("two").await;
    let thread = world.thread().await;
    let nothing = Refusal::NotFound { what: "thread" };
    assert_eq!(refusal(other.try_send(other.message(thread, "x")).await), nothing);
    assert_eq!(refusal(world.try_send(world.message(ThreadId::from_uuid(id()), "x")).await), nothing);

    let (org, member) = (world.org, UserId::from_uuid(id()));
    let by_member = NewMessage { user: member, ..world.message(thread, "x") };
    assert_eq!(refusal(world.try_send(by_member.clone()).await), nothing, "not of the org");
    world.org_tx(move |tx| orgs::put_member(tx, org, member, MemberRole::Member).boxed()).await.unwrap();
    assert!(matches!(refusal(world.try_send(by_member.clone()).await), Refusal::PermissionDenied { .. }));
    world.org_tx(move |tx| orgs::put_member(tx, org, member, MemberRole::Admin).boxed()).await.unwrap();
    assert!(world.try_send(by_member).await.is_ok());
}

#[tokio::test]
async fn agents_without_a_model_or_deleted_are_refused() {
    let world = World::new().await;
    let (org, agent) = (world.org, AgentId::from_uuid(id()));
    let made = world.org_tx(move |tx| async move { agents::create(tx, org, agent, "bare", &AgentSpec::default()).await }.boxed());
    made.await.unwrap();
    let new = threads::NewThread {
        id: ThreadId::from_uuid(id()),
        org,
        user: world.user,
        agent: Some(AgentRef::parse("bare")),
        title: "kept".into(),
    };
    let thread = world.org_tx(move |tx| threads::create(tx, new.clone()).boxed()).await.unwrap().id;
    assert_eq!(refusal(world.try_send(world.message(thread, "x")).await), Refusal::ModelNotConfigured);
    let with_model = NewMessage { default_model: Some("fallback".into()), ..world.message(thread, "x") };
    let sent = world.try_send(with_model.clone()).await.unwrap();
    let session = world.session().await;
    let claimed = world.claim(session, 1).await;
    assert_eq!((claimed[0].row.run.id, claimed[0].spec.agent.model.as_str()), (sent.run, "fallback"));

    let delete = world.org_tx(move |tx| async move { agents::delete(tx, org, &AgentRef::Id(agent)).await }.boxed());
    delete.await.unwrap();
    assert_eq!(refusal(world.try_send(world.message(thread, "x")).await), Refusal::AgentDeleted);
}

#[tokio::test]
async fn queues_have_bounds_and_busy_threads_can_refuse() {
    let world = World::new().await;
    let thread = world.thread().await;
    let holder = world.send(thread, "1").await;
    let reject = NewMessage { on_busy: OnBusy::Reject, ..world.message(thread, "2") };
    assert_eq!(refusal(world.try_send(reject).await), Refusal::ThreadBusy { run: holder.run });

    let bounded = |queues| NewMessage { queues, ..world.message(thread, "x") };
    let full = |answer| matches!(answer, Refusal::QueueLimit { max: 1, .. });
    assert!(full(refusal(world.try_send(bounded(Queues { open_per_user_max: 1, ..QUEUES })).await)));
    assert!(full(refusal(world.try_send(bounded(Queues { open_per_org_max: 1, ..QUEUES })).await)));
    let one_queued = Queues { queued_per_thread_max: 1, ..QUEUES };
    let second = world.try_send(bounded(one_queued)).await.unwrap();
    assert!(full(refusal(world.try_send(bounded(one_queued)).await)));
    assert_eq!(second.turn_number, 2, "refused messages use no turn up");
}

#[tokio::test]
async fn one_key_is_one_run_however_many_send_it_at_once() {
    let world = World::new().await;
    let thread = world.thread().await;
    let key = |digest| Key { org: world.org, user: world.user, method: "Send", key: "k".into(), digest: [digest; 32] };
    let send = |digest| {
        let (world, key) = (world.clone(), key(digest));
        async move {
            let new = world.message(thread, "x");
            world
                .org_tx(move |tx| {
                    let (key, new) = (key.clone(), new.clone());
                    async move {
                        if let Some(answer) = idempotency::look(tx, &key).await?.answer(&key)? {
                            return Ok(String::from_utf8(answer).unwrap());
                        }
                        let answer = runs::send(tx, new).await?.run.to_string();
                        idempotency::remember(tx, &key, answer.as_bytes()).await?;
                        Ok(answer)
                    }
                    .boxed()
                })
                .await
        }
    };
    let answers = futures::future::join_all((0..8).map(|_| tokio::spawn(send(1)))).await;
    let answers: Vec<String> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(refusal(send(2).await), Refusal::IdempotencyKeyReused);
    let org = world.org;
    let queue = world.org_tx(move |tx| runs::queue(tx, org, thread).boxed()).await.unwrap();
    assert_eq!(queue.len(), 1);
    assert_eq!(purge(&world.db, PURGING).await.unwrap().keys, 0, "young keys stay");
    crate::server::execute(&world.url, "UPDATE idempotency_keys SET created_at = created_at - interval '8 days'").await;
    crate::server::execute(&world.url, "UPDATE runs SET created_at = created_at - interval '8 days'").await;
    assert_eq!(purge(&world.db, PURGING).await.unwrap().keys, 0, "kept while the run lives");
    world.cancel(queue[0].run.id).await.unwrap();
    assert_eq!(purge(&world.db, PURGING).await.unwrap().keys, 1);
}

/// Keys that are old enough to go, of somebody who has no run.
async fn old_keys(world: &World, count: u32) {
    let made = format!(
        "INSERT INTO idempotency_keys (org_id, user_id, method, key, digest, response, created_at)
         SELECT '{}', gen_random_uuid(), 'm', 'k' || n, sha256(''), '', now() - interval '8 days' + n * interval '1 ms'
         FROM generate_series(1, {count}) n",
        world.org.uuid()
    );
    crate::server::execute(&world.url, &made).await;
}

async fn keys_left(world: &World) -> i64 {
    crate::server::value(&world.url, "SELECT count(*) FROM idempotency_keys").await
}

#[tokio::test]
async fn one_purge_forgets_everything_that_is_due() {
    let world = World::new().await;
    old_keys(&world, 5_000).await;
    let purged = purge(&world.db, PURGING).await.unwrap();
    assert_eq!((purged.keys, purged.left, keys_left(&world).await), (5_000, false, 0));
    assert_eq!(purge(&world.db, PURGING).await.unwrap(), Purged::default(), "nothing is due");
}

#[tokio::test]
async fn a_purge_without_time_stops_after_a_batch_and_says_so() {
    let world = World::new().await;
    old_keys(&world, 5_000).await;
    let purged = purge(&world.db, Duration::ZERO).await.unwrap();
    assert!(purged.left && purged.keys < 5_000, "{purged:?}");
    assert_eq!(keys_left(&world).await, 5_000 - i64::try_from(purged.keys).unwrap());
}

#[tokio::test]
async fn replicas_share_a_purge() {
    let world = World::new().await;
    old_keys(&world, 5_000).await;
    let (one, two) = tokio::join!(purge(&world.db, PURGING), purge(&world.db, PURGING));
    assert_eq!((one.unwrap().keys + two.unwrap().keys, keys_left(&world).await), (5_000, 0), "each went once");
}
