//! Orgs, members, agents, threads, lists, the summary.

use crate::fixture::{LEASES, World, dispatched, id, lease, model_step, spec};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::{AgentId, OrgId, UserId};
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Refusal};
use runmesh_store::PageRequest;
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_store::runs::{self, ListRuns};
use runmesh_store::summary::{self, Summary};
use runmesh_store::threads::{self, ListThreads};

fn refused<T>(refusal: Refusal) -> runmesh_domain::Result<T> {
    Err(Error::Refused(refusal))
}

#[tokio::test]
async fn the_last_admin_stays() {
    let world = World::new().await;
    let (org, admin, second) = (world.org, world.user, UserId::from_uuid(id()));
    let put = |user, role| world.org_tx(move |tx| orgs::put_member(tx, org, user, role).boxed());
    let remove = |user| world.org_tx(move |tx| orgs::remove_member(tx, org, user).boxed());
    assert!(matches!(remove(admin).await, Err(Error::Refused(Refusal::Conflict { .. }))));
    assert!(matches!(put(admin, MemberRole::Member).await, Err(Error::Refused(Refusal::Conflict { .. }))));
    put(second, MemberRole::Admin).await.unwrap();
    assert_eq!(remove(admin).await, Ok(()));
    assert_eq!(remove(admin).await, refused(Refusal::NotFound { what: "member" }));
    assert_eq!(world.org_tx(move |tx| orgs::role(tx, org, admin).boxed()).await, Ok(None));
    let members = world.org_tx(move |tx| async move { orgs::list_members(tx, org, &PageRequest::first()).await }.boxed());
    assert_eq!(members.await.unwrap().items.iter().map(|member| member.user).collect::<Vec<_>>(), [second]);
    let ensure = world.system(move |tx| orgs::ensure(tx, OrgId::of_name("x"), "one", None).boxed()).await;
    assert_eq!(ensure, refused(Refusal::NameTaken { what: "org" }));
}

#[tokio::test]
async fn agents_have_versions_and_names_that_come_free() {
    let world = World::new().await;
    let org = world.org;
    let create = |name: &'static str| {
        world.org_tx(move |tx| async move { agents::create(tx, org, AgentId::from_uuid(id()), name, &spec()).await }.boxed())
    };
    let update = |expected| {
        world.org_tx(move |tx| {
            async move { agents::update(tx, org, &AgentRef::parse("a"), &AgentSpec::default(), expected).await }.boxed()
        })
    };
    let made = create("a").await.unwrap();
    assert_eq!(create("a").await, refused(Refusal::NameTaken { what: "agent" }));
    assert_eq!(update(1).await.unwrap().version, 2);
    assert!(matches!(update(1).await, Err(Error::Refused(Refusal::Conflict { .. }))));
    assert_eq!(update(0).await.unwrap().version, 3);
    let by_id = AgentRef::parse(&made.id.to_string());
    let (found, delete) = (by_id.clone(), by_id.clone());
    let found = world.org_tx(move |tx| {
        let found = found.clone();
        async move { agents::get(tx, org, &found).await }.boxed()
    });
    assert_eq!(found.await.unwrap().spec, AgentSpec::default());
    let deleted = world.org_tx(move |tx| {
        let delete = delete.clone();
        async move { agents::delete(tx, org, &delete).await }.boxed()
    });
    deleted.await.unwrap();
    let gone = world.org_tx(move |tx| {
        let by_id = by_id.clone();
        async move { agents::get(tx, org, &by_id).await }.boxed()
    });
    assert_eq!(gone.await, refused(Refusal::NotFound { what: "agent" }));
    assert!(create("a").await.is_ok());
    let page = world.org_tx(move |tx| async move { agents::list(tx, org, &PageRequest::first()).await }.boxed());
    assert_eq!(page.await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn the_default_agent_comes_back_after_it_was_deleted() {
    let world = World::new().await;
    let org = world.org;
    let ensure = || world.system(move |tx| async move { agents::ensure_default(tx, org, &spec()).await }.boxed());
    assert_eq!(ensure().await.unwrap().id, world.agent);
    let delete = world.org_tx(move |tx| async move { agents::delete(tx, org, &AgentRef::default_agent()).await }.boxed());
    delete.await.unwrap();
    let again = ensure().await.unwrap();
    assert_ne!(again.id, world.agent);
    assert_eq!(ensure().await.unwrap(), again);
}

#[tokio::test]
async fn lists_page_through_everything_once() {
    let world = World::new().await;
    let org = world.org;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(world.send(world.thread().await, "x").await);
    }
    let mut runs_seen = Vec::new();
    let mut threads_seen = Vec::new();
    let (mut of_runs, mut of_threads) =
        (PageRequest { page_size: 2, ..PageRequest::first() }, PageRequest { page_size: 2, ..PageRequest::first() });
    for _ in 0..3 {
        let (wish, list) = (
            ListRuns { page: of_runs.clone(), ..ListRuns::default() },
            ListThreads { page: of_threads.clone(), ..ListThreads::default() },
        );
        let page = world
            .org_tx(move |tx| {
                let wish = wish.clone();
                async move { runs::list(tx, org, &wish).await }.boxed()
            })
            .await
            .unwrap();
        runs_seen.extend(page.items.into_iter().map(|row| row.run.id));
        of_runs.page_token = page.next_page_token;
        let page = world
            .org_tx(move |tx| {
                let list = list.clone();
                async move { threads::list(tx, org, &list).await }.boxed()
            })
            .await
            .unwrap();
        threads_seen.extend(page.items.into_iter().map(|thread| thread.id));
        of_threads.page_token = page.next_page_token;
    }
    sent.reverse();
    assert_eq!(runs_seen, sent.iter().map(|sent| sent.run).collect::<Vec<_>>());
    assert_eq!(threads_seen, sent.iter().map(|sent| sent.thread).collect::<Vec<_>>());
    assert_eq!((of_runs.page_token, of_threads.page_token), (String::new(), String::new()));
    let by_state = ListRuns { states: vec![StateName::Running], ..ListRuns::default() };
    let page = world.org_tx(move |tx| {
        let wish = by_state.clone();
        async move { runs::list(tx, org, &wish).await }.boxed()
    });
    assert_eq!(page.await.unwrap().items, vec![]);
    let bad = ListRuns { page: PageRequest { page_token: "!".into(), ..PageRequest::first() }, ..ListRuns::default() };
    let page = world.org_tx(move |tx| {
        let wish = bad.clone();
        async move { runs::list(tx, org, &wish).await }.boxed()
    });
    assert!(matches!(page.await, Err(Error::Refused(Refusal::InvalidField { field, .. })) if field == "page_token"));
}

#[tokio::test]
async fn a_deleted_thread_is_gone_and_its_runs_end() {
    let world = World::new().await;
    let (org, user) = (world.org, world.user);
    let running = world.running(world.session().await).await;
    let queued = world.send(running.thread, "next").await;
    let thread = running.thread;
    let (rows, committed) = world.org_tx(move |tx| threads::delete(tx, org, user, thread).boxed()).await.unwrap();
    assert_eq!(committed.iter().map(|one| one.ids.id).collect::<Vec<_>>(), [queued.run]);
    assert!(world.get(running.run).await.run.is_cancel_requested());
    assert_eq!(rows[1], world.get(running.run).await, "its holder can be told");
    let gone = refused(Refusal::NotFound { what: "thread" });
    assert_eq!(world.org_tx(move |tx| threads::get(tx, org, thread).boxed()).await, gone);
    assert!(world.try_send(world.message(thread, "x")).await.is_err());
    world.complete(running, "still").await;
}

#[tokio::test]
async fn titles_are_changed_by_those_who_may() {
    let world = World::new().await;
    let (org, user, thread) = (world.org, world.user, world.thread().await);
    let retitle = |user| world.org_tx(move |tx| threads::update_title(tx, org, user, thread, "new").boxed());
    assert_eq!(retitle(user).await.unwrap().title, "new");
    assert!(matches!(retitle(UserId::from_uuid(id())).await, Err(Error::Refused(Refusal::PermissionDenied { .. }))));
    world.send(thread, "kept").await;
    assert_eq!(world.org_tx(move |tx| threads::get(tx, org, thread).boxed()).await.unwrap().title, "new");
}

#[tokio::test]
async fn the_summary_counts_what_the_rows_say() {
    let world = World::new().await;
    let session = world.session().await;
    let waiting = world.running(session).await;
    world.record(waiting, vec![model_step(1, "", &["write"]), dispatched(1, 0)]).await.unwrap();
    world.release(waiting).await.unwrap();
    let running = world.running(session).await;
    world.send(running.thread, "queued").await;
    let ended = world.running(session).await;
    world.complete(ended, "over").await;
    let org = world.org;
    let look = || world.org_tx(move |tx| async move { summary::summary(tx, org, &LEASES, 10).await }.boxed());
    let Summary { agents, running: now, waiting: asked, queued, runs, .. } = look().await.unwrap();
    assert_eq!((agents, now, asked, queued, runs.len()), (1, 1, 1, 1, 3));
    assert_eq!(runs.iter().find(|run| run.run == running.run).unwrap().agent_name, "default");
    let lost = format!("UPDATE worker_sessions SET lost_at = clock_timestamp() WHERE id = '{}'", session.uuid());
    server::execute(&world.url, &lost).await;
    let Summary { agents, running: now, queued, .. } = look().await.unwrap();
    assert_eq!((agents, now, queued), (0, 0, 2), "without a live lease nothing runs");
    assert_eq!(lease(&world.get(running.run).await).fence, 1);
}
