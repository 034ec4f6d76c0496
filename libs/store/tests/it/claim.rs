//! Claims: who gets what, and how much of it.

use crate::fixture::{QUEUES, World, claim_for, id, lease};
use futures::FutureExt as _;
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::id::{AgentId, OrgId, SessionId, ThreadId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_domain::message::add_older;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Record;
use runmesh_domain::{Error, Refusal};
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::orgs::{self, MemberRole};
use runmesh_store::runs::{self, BlockedBy, ListRuns, NewMessage};
use runmesh_store::sessions;
use runmesh_store::threads::{self, NewThread};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_claim_makes_an_attempt() {
    let world = World::new().await;
    let session = world.session().await;
    let sent = world.send(world.thread().await, "hi").await;
    let claimed = world.claim(session, 10).await;
    let row = &claimed[0].row;
    assert_eq!((row.run.id, row.run.fence, row.run.version), (sent.run, 1, 2));
    assert_eq!(row.run.state.session(), Some(session));
    let told = &claimed[0].committed;
    assert_eq!((told.len(), &told[0]), (2, &sent.committed[0]), "with what its log has not got yet");
    assert_eq!(told[1].transition.record, Record::AttemptStarted);
    assert_eq!(world.get(sent.run).await, *row, "what is told is what is stored");
    assert_eq!(claimed[0].context.as_ref().unwrap().messages.len(), 1);
    assert!(world.claim(session, 10).await.is_empty());
}

#[tokio::test]
async fn one_busy_org_does_not_hold_up_another() {
    let world = World::new().await;
    let other = world.other("two").await;
    for n in 0..20 {
        world.send(world.thread().await, &format!("{n}")).await;
    }
    let late = other.send(other.thread().await, "me too").await;
    let session = world.session().await;
    let claimed = world.claim(session, 2).await;
    assert!(claimed.iter().any(|claimed| claimed.row.run.id == late.run), "within one round");
}

#[tokio::test]
async fn users_and_orgs_have_running_limits_under_concurrent_claims() {
    let world = World::new().await;
    let (org, second) = (world.org, UserId::from_uuid(id()));
    world.org_tx(move |tx| orgs::put_member(tx, org, second, MemberRole::Admin).boxed()).await.unwrap();
    let mut last = None;
    for user in [world.user, second] {
        for _ in 0..6 {
            let thread = world.thread().await;
            last = Some(world.try_send(NewMessage { user, ..world.message(thread, "x") }).await.unwrap());
        }
    }
    let session = world.session().await;
    let queues = Queues { running_per_user_max: 2, running_per_org_max: 3, ..QUEUES };
    let claims = (0..6).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.try_claim(claim_for(session, 5, queues)).await.unwrap() })
    });
    let claimed: Vec<_> = futures::future::join_all(claims).await.into_iter().flat_map(|claimed| claimed.unwrap()).collect();
    let runs: BTreeSet<_> = claimed.iter().map(|claimed| claimed.row.run.id).collect();
    assert_eq!((claimed.len(), runs.len()), (3, 3), "the org's limit, and no run twice");
    for user in [world.user, second] {
        assert!(claimed.iter().filter(|claimed| claimed.row.run.user == user).count() <= 2);
    }
    let run = last.unwrap().run;
    let blocked = |queues| world.org_tx(move |tx| async move { runs::blocked_by(tx, run, &queues).await }.boxed());
    assert_eq!(blocked(queues).await.unwrap(), Some(BlockedBy::OrgLimit));
    let page = world.org_tx(move |tx| {
        async move {
            let mut page = runs::list(tx, org, &ListRuns::default()).await?.items;
            runs::see_blocked(tx, &mut page, &queues).await?;
            Ok(page)
        }
        .boxed()
    });
    let page = page.await.unwrap();
    let of = |user, by| page.iter().filter(|row| row.run.user == user && row.blocked_by == by).count();
    let full = if of(world.user, None) == 2 { world.user } else { second };
    let other = if full == second { world.user } else { second };
    assert_eq!((of(full, None), of(full, Some(BlockedBy::UserLimit))), (2, 4), "two run");
    assert_eq!((of(other, None), of(other, Some(BlockedBy::OrgLimit))), (1, 5), "one runs, and the org is full");
    assert_eq!(blocked(QUEUES).await.unwrap(), None);
    for claimed in claimed {
        world.complete(lease(&claimed.row), "done").await;
    }
    let again = world.try_claim(claim_for(session, 10, queues)).await.unwrap();
    assert_eq!(again.len(), 3, "the slots are free again");
}

#[tokio::test]
async fn a_session_gets_only_what_it_may_and_can_serve() {
    let world = World::new().await;
    let other = world.other("two").await;
    let thread = thread_with_builtin(&world).await;
    let with_tool = world.send(thread, "needs a tool").await;
    let plain = world.send(world.thread().await, "plain").await;
    other.send(other.thread().await, "elsewhere").await;

    let world = &world;
    let serves = |session: SessionId| async move {
        let claimed = world.claim(session, 10).await;
        for one in &claimed {
            world.release(lease(&one.row)).await.unwrap();
            world.end_waits().await;
        }
        claimed.iter().map(|one| one.row.run.id).collect::<BTreeSet<_>>()
    };
    let org = world.org;
    let no_tools = world.session_with(&crate::fixture::LEASES, |new| {
        new.tools = vec![];
        new.credential.orgs = Some(vec![org]);
    });
    assert_eq!(serves(no_tools.await).await, BTreeSet::from([plain.run]));
    let with_tools = world.session_with(&crate::fixture::LEASES, |new| {
        new.tools = vec!["current_time".into()];
        new.credential.orgs = Some(vec![org]);
    });
    assert_eq!(serves(with_tools.await).await, BTreeSet::from([plain.run, with_tool.run]));
    let agent = world.agent;
    let declared = world.session_with(&crate::fixture::LEASES, |new| new.agents = vec![agent]);
    assert_eq!(serves(declared.await).await, BTreeSet::from([plain.run]));
    let outside = world.session_with(&crate::fixture::LEASES, |new| {
        new.agents = vec![agent];
        new.credential.agents = Some(vec![AgentId::from_uuid(id())]);
    });
    assert_eq!(serves(outside.await).await, BTreeSet::new(), "declaring more than the credential allows gains nothing");
    let nowhere = world.session_with(&crate::fixture::LEASES, |new| new.credential.orgs = Some(vec![OrgId::of_name("x")]));
    assert_eq!(serves(nowhere.await).await, BTreeSet::new());
}

async fn thread_with_builtin(world: &World) -> ThreadId {
    let kind = ToolKind::Builtin;
    let tool = Tool { name: "current_time".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
    let spec = AgentSpec { model: "m".into(), tools: vec![tool], ..AgentSpec::default() };
    let (org, user) = (world.org, world.user);
    let made = world.org_tx(move |tx| {
        let spec = spec.clone();
        async move {
            agents::create(tx, org, AgentId::from_uuid(id()), "clock", &spec).await?;
            let agent = Some(AgentRef::parse("clock"));
            threads::create(tx, NewThread { id: ThreadId::from_uuid(id()), org, user, agent, title: String::new() }).await
        }
        .boxed()
    });
    made.await.unwrap().id
}

#[tokio::test]
async fn dead_sessions_claim_nothing() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    let lost = Err(Error::Refused(Refusal::SessionLost));
    let wish = |session| claim_for(session, 1, QUEUES);
    assert_eq!(world.try_claim(wish(SessionId::from_uuid(id()))).await, lost);
    let expired = world.session().await;
    world.expire(expired).await;
    world.reap().await;
    assert_eq!(world.try_claim(wish(expired)).await, lost);
    let closed = world.session().await;
    world.system(move |tx| sessions::close(tx, closed, 1).boxed()).await.unwrap();
    assert_eq!(world.try_claim(wish(closed)).await, lost);
    let run = sent.run;
    let blocked = world.org_tx(move |tx| async move { runs::blocked_by(tx, run, &QUEUES).await }.boxed());
    assert_eq!(blocked.await.unwrap(), Some(BlockedBy::NoCapableWorker));
    assert_eq!(world.state(sent.run).await, StateName::Ready);
}

#[tokio::test]
async fn of_a_long_conversation_the_newest_page_is_sent_along() {
    let world = World::new().await;
    let session = world.session().await;
    let thread = world.thread().await;
    let text = "x".repeat(200 << 10);
    for _ in 0..3 {
        let lease = world.running_on(session, thread).await;
        world.complete(lease, &text).await;
    }
    let sent = world.send(thread, "and now").await;
    let claimed = world.claim(session, 1).await;
    assert_eq!(claimed[0].row.run.id, sent.run);
    let lease = lease(&claimed[0].row);
    let first = claimed[0].context.clone().unwrap();
    assert_eq!(first.messages.len(), 3, "the question, and the turn before with 200 KiB");
    let (mut token, mut read) = (first.next_page_token, first.messages);
    let mut pages = 1;
    while let Some(asked) = token {
        let context = world.system(move |tx| {
            let asked = asked.clone();
            async move { runmesh_store::steps::context(tx, lease, &asked, 0).await }.boxed()
        });
        let context = context.await.unwrap();
        assert!(!context.messages.is_empty());
        add_older(&mut read, context.messages);
        (token, pages) = (context.next_page_token, pages + 1);
    }
    assert_eq!((pages, read.len()), (2, 7));
    assert_eq!(read, world.messages(thread).await, "in the order of the conversation");
}
