//! Orgs: made once, with bounds of their own, seen by their people only, and gone for good once deleted.

use crate::fixture::{QUEUES, World, claim_for, id, lease};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::limits::{OrgLimits, Queues};
use runmesh_domain::run::StateName;
use runmesh_domain::{Error, Refusal, Result};
use runmesh_store::orgs::{self, MemberRole, NewOrg, Org, OrgChange};
use runmesh_store::runs::{self, BlockedBy};
use runmesh_store::{Page, PageRequest, Scope};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use std::str::FromStr as _;

fn refused<T>(refusal: Refusal) -> Result<T> {
    Err(Error::Refused(refusal))
}

async fn make(world: &World, name: &'static str, admin: UserId) -> Result<Org> {
    let new = NewOrg { name: name.to_owned(), display_name: format!("The {name}") };
    world
        .system(move |tx| {
            let new = new.clone();
            async move { orgs::create(tx, &new, admin).await }.boxed()
        })
        .await
}

async fn change(world: &World, change: OrgChange) -> Result<Org> {
    let org = world.org;
    world
        .org_tx(move |tx| {
            let change = change.clone();
            async move { orgs::update(tx, org, &change).await }.boxed()
        })
        .await
}

async fn limit(world: &World, of_user: Option<u32>, of_org: Option<u32>) {
    let limits = OrgLimits { running_per_user_max: of_user, running_per_org_max: of_org };
    assert_eq!(change(world, OrgChange { display_name: None, limits: Some(limits) }).await.unwrap().limits, limits);
}

async fn delete(world: &World) -> Result<()> {
    let org = world.org;
    world.org_tx(move |tx| orgs::delete(tx, org).boxed()).await
}

async fn orgs_of(world: &World, user: UserId, among: Option<Vec<OrgId>>, page: PageRequest) -> Page<String> {
    let page = world.db.tx(Scope::Person(user), move |tx| {
        let (among, page) = (among.clone(), page.clone());
        async move { orgs::list_of(tx, user, among.as_deref(), &page).await }.boxed()
    });
    let Page { items, next_page_token } = page.await.unwrap();
    Page {
        items: items.into_iter().map(|(org, member)| format!("{} {}", org.name, member.role.name())).collect(),
        next_page_token,
    }
}

#[tokio::test]
async fn an_orgs_own_limits_bound_claims() {
    let world = World::new().await;
    let other = world.other("two").await;
    for world in [&world, &other] {
        for _ in 0..6 {
            world.send(world.thread().await, "x").await;
        }
    }
    let session = world.session().await;
    let mesh = Queues { running_per_user_max: 2, running_per_org_max: 4, ..QUEUES };
    let claim = async |org: OrgId| {
        let claimed = world.try_claim(claim_for(session, 100, mesh)).await.unwrap();
        claimed.into_iter().filter(|claimed| claimed.row.run.org == org).collect::<Vec<_>>()
    };
    limit(&world, Some(1), None).await;
    let first = claim(world.org).await;
    assert_eq!(first.len(), 1, "below the mesh's");
    limit(&world, Some(3), None).await;
    assert_eq!(claim(world.org).await.len(), 2, "above the mesh's");
    limit(&world, Some(5), Some(3)).await;
    assert_eq!(claim(world.org).await.len(), 0, "the org's own bound counts too");
    limit(&world, Some(5), Some(4)).await;
    assert_eq!(claim(world.org).await.len(), 1);
    limit(&world, None, None).await;
    world.complete(lease(&first[0].row), "done").await;
    assert_eq!(claim(world.org).await.len(), 0, "three of the user run, and the mesh's bound is two again");

    let running: i64 = server::value(
        &world.url,
        &format!("SELECT count(*) FROM runs WHERE state = 'running' AND org_id = '{}'", other.org.uuid()),
    )
    .await;
    assert_eq!(running, 2, "whose org says nothing is bound by the mesh alone");
}

#[tokio::test]
async fn what_blocks_a_run_is_told_by_the_orgs_own_limits() {
    let world = World::new().await;
    let session = world.session().await;
    world.running(session).await;
    let run = world.send(world.thread().await, "x").await.run;
    let blocked = || world.org_tx(move |tx| async move { runs::blocked_by(tx, run, &QUEUES).await }.boxed());
    assert_eq!(blocked().await, Ok(None));
    limit(&world, Some(1), None).await;
    assert_eq!(blocked().await, Ok(Some(BlockedBy::UserLimit)));
    limit(&world, None, Some(1)).await;
    assert_eq!(blocked().await, Ok(Some(BlockedBy::OrgLimit)));
}

#[tokio::test]
async fn a_name_is_given_once() {
    let world = World::new().await;
    let made = make(&world, "new", world.user).await.unwrap();
    assert_eq!((made.id, made.display_name.as_str()), (OrgId::of_name("new"), "The new"));
    assert_eq!(made.limits, OrgLimits::default());
    assert_eq!(make(&world, "new", world.user).await, refused(Refusal::NameTaken { what: "org" }));
    let people = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { make(&world, "raced", UserId::from_uuid(id())).await })
    });
    let made = futures::future::join_all(people).await.into_iter().map(|made| made.unwrap()).collect::<Vec<_>>();
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    assert_eq!(made.iter().filter(|made| **made == refused(Refusal::NameTaken { what: "org" })).count(), 7, "{made:?}");
    let members: i64 =
        server::value(&world.url, &format!("SELECT count(*) FROM members WHERE org_id = '{}'", OrgId::of_name("raced").uuid()))
            .await;
    assert_eq!(members, 1, "the others left nothing");
}

#[tokio::test]
async fn a_change_leaves_the_rest() {
    let world = World::new().await;
    limit(&world, Some(3), Some(4)).await;
    let named = change(&world, OrgChange { display_name: Some("One".into()), limits: None }).await.unwrap();
    assert_eq!(named.limits, OrgLimits { running_per_user_max: Some(3), running_per_org_max: Some(4) });
    limit(&world, None, Some(5)).await;
    let org = world.org;
    let now = world.org_tx(move |tx| orgs::get(tx, org).boxed()).await.unwrap();
    assert_eq!((now.display_name.as_str(), now.limits.running_per_org_max), ("One", Some(5)));
    assert_eq!(change(&world, OrgChange::default()).await, Ok(now));
}

#[tokio::test]
async fn a_person_sees_their_own_orgs_page_by_page() {
    let world = World::new().await;
    let other = world.other("two").await;
    for name in ["c", "a", "b"] {
        make(&world, name, world.user).await.unwrap();
    }
    let (org, user) = (other.org, world.user);
    other.org_tx(move |tx| orgs::put_member(tx, org, user, MemberRole::Member).boxed()).await.unwrap();
    let first = orgs_of(&world, user, None, PageRequest { page_size: 2, ..PageRequest::first() }).await;
    assert_eq!(first.items, ["a admin", "b admin"]);
    let rest = PageRequest { page_size: 10, page_token: first.next_page_token };
    let rest = orgs_of(&world, user, None, rest).await;
    assert_eq!(
        (rest.items.as_slice(), rest.next_page_token.as_str()),
        (&["c admin", "one admin", "two member"].map(String::from)[..], "")
    );
    let among = Some(vec![other.org, OrgId::of_name("a"), OrgId::of_name("nowhere")]);
    assert_eq!(orgs_of(&world, user, among, PageRequest::first()).await.items, ["a admin", "two member"]);
    assert_eq!(orgs_of(&world, user, Some(vec![]), PageRequest::first()).await.items, Vec::<String>::new());
    assert_eq!(orgs_of(&world, other.user, None, PageRequest::first()).await.items, ["two admin"]);
}

#[tokio::test]
async fn the_wall_around_a_person_shows_memberships_and_nothing_else() {
    let world = World::new().await;
    let other = world.other("two").await;
    world.send(world.thread().await, "x").await;
    let options = sqlx::postgres::PgConnectOptions::from_str(&world.url).unwrap();
    let mut connection = options.connect().await.unwrap();
    let begin = format!("BEGIN; SET LOCAL ROLE runmesh_person; SET LOCAL runmesh.person = '{}'", world.user.uuid());
    connection.execute(AssertSqlSafe(begin.clone())).await.unwrap();
    for (table, key) in [("members", "org_id"), ("orgs", "id")] {
        let rows = connection.fetch_all(AssertSqlSafe(format!("SELECT {key} FROM {table}"))).await.unwrap();
        let seen: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [world.org.uuid()], "{table}, and nothing of {}", other.org);
    }
    for statement in [
        "SELECT * FROM runs",
        "SELECT * FROM threads",
        "SELECT * FROM idempotency_keys",
        "DELETE FROM members",
        "UPDATE orgs SET display_name = 'x'",
        "INSERT INTO orgs (id, name) VALUES (gen_random_uuid(), 'x')",
    ] {
        connection.execute("ROLLBACK").await.unwrap();
        connection.execute(AssertSqlSafe(begin.clone())).await.unwrap();
        assert!(connection.execute(statement).await.is_err(), "{statement}");
    }
    connection.execute("ROLLBACK; BEGIN; SET LOCAL ROLE runmesh_person").await.unwrap();
    assert!(connection.execute("SELECT * FROM members").await.is_err(), "without a person nothing is shown");
}

#[tokio::test]
async fn a_deleted_org_is_gone_and_its_name_is_not_free() {
    let world = World::new().await;
    let (org, user) = (world.org, world.user);
    let running = world.running(world.session().await).await;
    let waits = refused(Refusal::Conflict { problem: "a run of the org has not ended; cancel what is open first" });
    assert_eq!(delete(&world).await, waits);
    world.complete(running, "done").await;
    let queued = world.send(world.thread().await, "x").await;
    assert_eq!(delete(&world).await, waits, "READY is not ended either");
    world.cancel(queued.run).await.unwrap();
    assert_eq!(delete(&world).await, Ok(()));

    let gone = refused(Refusal::NotFound { what: "org" });
    assert_eq!(delete(&world).await, gone);
    assert_eq!(world.org_tx(move |tx| orgs::get(tx, org).boxed()).await, refused(Refusal::NotFound { what: "org" }));
    assert_eq!(change(&world, OrgChange::default()).await, refused(Refusal::NotFound { what: "org" }));
    assert_eq!(world.org_tx(move |tx| orgs::role(tx, org, user).boxed()).await, Ok(None));
    let join = world.org_tx(move |tx| orgs::put_member(tx, org, user, MemberRole::Admin).boxed());
    assert_eq!(join.await, refused(Refusal::NotFound { what: "org" }));
    let thread = running.thread;
    assert!(matches!(world.try_send(world.message(thread, "x")).await, Err(Error::Refused(Refusal::NotFound { .. }))));
    assert_eq!(orgs_of(&world, user, None, PageRequest::first()).await.items, Vec::<String>::new());
    assert_eq!(make(&world, "one", user).await, refused(Refusal::NameTaken { what: "org" }));
    let again = world.system(move |tx| orgs::ensure(tx, org, "one", Some(user)).boxed()).await;
    assert_eq!(again, Ok(false), "the settings do not bring it back");
    assert_eq!(world.org_tx(move |tx| orgs::role(tx, org, user).boxed()).await, Ok(None));
}

/// A message that was being accepted while its org was deleted: its sender was still a member when it began.
#[tokio::test]
async fn nothing_of_a_deleted_org_is_claimed() {
    let world = World::new().await;
    let other = world.other("two").await;
    let left = world.send(world.thread().await, "x").await;
    let delete = format!("UPDATE orgs SET deleted_at = clock_timestamp() WHERE id = '{}'", world.org.uuid());
    server::execute(&world.url, &delete).await;
    let session = world.session().await;
    assert!(world.claim(session, 10).await.is_empty());
    let sent = other.send(other.thread().await, "x").await;
    let claimed = world.claim(session, 10).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.row.run.id).collect::<Vec<_>>(), [sent.run], "others are not held up");
    let none = std::time::Duration::ZERO;
    world
        .system(move |tx| async move { runs::fail_unserved(tx, none, runs::UnservedFrom::default(), 10).await }.boxed())
        .await
        .unwrap();
    assert_eq!(world.state(left.run).await, StateName::Failed);
}

/// Whoever was put in before the deletion goes with it; whoever comes later finds no org.
#[tokio::test]
async fn people_who_join_while_it_goes_are_in_time_or_not_at_all() {
    let world = World::new().await;
    let org = world.org;
    let joins = (0..8).map(|_| {
        let world = world.clone();
        let user = UserId::from_uuid(id());
        tokio::spawn(async move { world.org_tx(move |tx| orgs::put_member(tx, org, user, MemberRole::Admin).boxed()).await })
    });
    let joins: Vec<_> = joins.collect();
    assert_eq!(delete(&world).await, Ok(()));
    for joined in futures::future::join_all(joins).await {
        let joined = joined.unwrap();
        assert!(joined.is_ok() || matches!(joined, Err(Error::Refused(Refusal::NotFound { .. }))), "{joined:?}");
    }
    let left: i64 = server::value(&world.url, &format!("SELECT count(*) FROM members WHERE org_id = '{}'", org.uuid())).await;
    assert_eq!(left, 0);
}
