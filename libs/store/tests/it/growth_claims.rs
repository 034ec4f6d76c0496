//! What a claim costs depends on what it takes and on what runs, and not on what waits; and whoever waits is served in the end.

use crate::fixture::{LEASES, QUEUES, World, claim_for, id};
use crate::growth::{mislead_the_planner, reads};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{AgentId, OrgId, RunId, SessionId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_store::Scope;
use runmesh_store::runs::{self, ClaimFor, ClaimRound, Claims, Left, SessionRoom};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Rows of runs with their specs, as many as wanted.
struct Rows {
    count: i64,
    org: String,
    user: String,
    agent: String,
    state: &'static str,
    needs: &'static str,
}

impl Rows {
    /// READY runs of the world's org, user and agent.
    fn new(world: &World, count: i64) -> Self {
        let (org, user, agent) = (world.org.uuid(), world.user.uuid(), world.agent.uuid());
        let quoted = |id: Uuid| format!("'{id}'::uuid");
        Self { count, org: quoted(org), user: quoted(user), agent: quoted(agent), state: "ready", needs: "{}" }
    }

    /// Inserts them; `n` counts from 1. The threads are new, and the frozen specs are that of some run of the world.
    async fn insert(&self, world: &World) {
        let Self { count, org, user, agent, state, needs } = self;
        let held = if *state == "running" { "gen_random_uuid()" } else { "NULL" };
        let text = format!(
            "WITH made AS (
               INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, rank, place, state, version,
                 fence, needs, created_at, changed_at, claimed_at, session_id)
               SELECT gen_random_uuid(), {org}, gen_random_uuid(), {user}, {agent}, 1, 1, 1,
                 CASE WHEN '{state}' <> 'queued' THEN 1 END, '{state}', 1, 1, '{needs}',
                 now() + n * interval '1 us', now(), now(), {held} FROM generate_series(1, {count}) n RETURNING id, org_id)
             INSERT INTO run_specs (run_id, org_id, spec) SELECT m.id, m.org_id, s.spec FROM made m, (SELECT spec FROM run_specs LIMIT 1) s"
        );
        server::execute(&world.url, &text).await;
    }
}

/// A world with plans that were made of tables as good as empty, and a spec that rows can have.
async fn misled() -> (World, SessionId) {
    let world = World::new().await;
    let session = world.session().await;
    mislead_the_planner(&world).await;
    world.running(session).await;
    server::execute(&world.url, "DELETE FROM runs").await;
    (world, session)
}

/// One claim, with the rows that it read.
async fn claim(world: &World, wish: ClaimFor) -> (Claims, i64) {
    let read = reads(world, Scope::System, move |tx| {
        let wish = wish.clone();
        async move { runs::claim(tx, &wish).await }.boxed()
    });
    read.await
}

/// The nth of the users or orgs that rows have.
fn nth(n: i64) -> Uuid {
    Uuid::from_u128(0x1000_0000_0000_0000_0000_0000_0000_0000 + n as u128)
}

/// The same, of the row's `n` in SQL.
fn nth_of(n: &str) -> String {
    format!("('10000000-0000-0000-0000-' || lpad(to_hex({n}), 12, '0'))::uuid")
}

#[tokio::test]
async fn a_claim_costs_what_it_takes_and_not_what_waits() {
    let (world, session) = misled().await;
    let mut read = Vec::new();
    for (ready, queued) in [(10, 0), (10_000, 0), (100_000, 0), (10, 100_000)] {
        server::execute(
            &world.url,
            "DELETE FROM runs; DELETE FROM run_specs WHERE run_id <> (SELECT min(run_id::text)::uuid FROM run_specs)",
        )
        .await;
        // The same ten users have everything, or a thousand have.
        for (users, of_users) in [("10", 2), ("1000", 2)] {
            Rows { user: nth_of(&format!("n % {users}")), ..Rows::new(&world, ready / of_users) }.insert(&world).await;
        }
        Rows { user: nth_of("n % 1000"), state: "queued", ..Rows::new(&world, queued) }.insert(&world).await;
        let (claims, rows) = claim(&world, claim_for(session, 10, QUEUES)).await;
        assert_eq!(claims.claimed.len(), 10, "of {ready}");
        read.push(rows);
    }
    let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
    assert!(*least > 0 && 2 * most <= 3 * least, "{read:?}");
}

#[tokio::test]
async fn one_org_with_room_behind_hundreds_without_is_served_in_the_same_round() {
    let (world, session) = misled().await;
    let text = "INSERT INTO orgs (id, name) SELECT ('10000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'o' || n
      FROM generate_series(1, 301) n";
    server::execute(&world.url, text).await;
    let queues = Queues { running_per_org_max: 2, ..QUEUES };
    let org = nth_of("1 + n % 300");
    Rows { org: org.clone(), state: "running", ..Rows::new(&world, 600) }.insert(&world).await;
    Rows { org, ..Rows::new(&world, 15_000) }.insert(&world).await;
    Rows { org: format!("'{}'", nth(301)), ..Rows::new(&world, 1) }.insert(&world).await;
    let (mut wish, mut claimed, mut looks) = (claim_for(session, 20, queues), Vec::new(), 0);
    loop {
        let (claims, rows) = claim(&world, wish.clone()).await;
        assert!(rows <= 256 * 4 + 200, "{rows} rows: no run of an org at its limit");
        claimed.extend(claims.claimed.iter().map(|one| one.row.run.org));
        (wish.round, looks) = (claims.round, looks + 1);
        if !claims.has_more {
            assert_eq!(claims.left, Left::Perhaps, "others wait for room");
            break;
        }
    }
    assert_eq!((claimed, looks), (vec![OrgId::from_uuid(nth(301))], 2));
    // A limit that no longer holds: the next round begins anywhere and finds it all the same.
    for end in [150, 1, 300] {
        let run = format!("(SELECT id FROM runs WHERE state = 'running' AND org_id = '{}' LIMIT 1)", nth(end));
        server::execute(&world.url, &format!("DELETE FROM runs WHERE id = {run}")).await;
        wish.round.restart();
        let served = world.try_claim(wish.clone()).await.unwrap();
        assert_eq!(served.iter().map(|one| one.row.run.org.uuid()).collect::<Vec<_>>(), [nth(end)]);
    }
}

#[tokio::test]
async fn a_claim_of_few_goes_from_org_to_org() {
    let (world, session) = misled().await;
    let text = "INSERT INTO orgs (id, name) SELECT ('10000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'o' || n
      FROM generate_series(0, 39) n";
    server::execute(&world.url, text).await;
    Rows { org: nth_of("n % 40"), ..Rows::new(&world, 4_000) }.insert(&world).await;
    let (mut wish, mut served) = (claim_for(session, 1, QUEUES), BTreeSet::new());
    for _ in 0..40 {
        wish.round.restart();
        let claims = world.claim_once(wish.clone()).await.unwrap();
        served.insert(claims.claimed[0].row.run.org);
        wish.round = claims.round;
    }
    assert!(served.len() >= 5, "one at a time, and not always the first: {}", served.len());
}

#[tokio::test]
async fn every_user_is_served_however_many_wait_and_keep_sending() {
    let (world, session) = misled().await;
    Rows { user: nth_of("n % 300"), ..Rows::new(&world, 300) }.insert(&world).await;
    let (mut wish, mut served) = (claim_for(session, 8, QUEUES), BTreeSet::new());
    for _ in 0..38 {
        wish.round.restart();
        let claims = world.claim_once(wish.clone()).await.unwrap();
        assert_eq!(claims.claimed.len(), 8);
        served.extend(claims.claimed.iter().map(|one| one.row.run.user));
        wish.round = claims.round;
        // Those who were served send again at once, and their messages are the oldest.
        let again =
            "UPDATE runs SET state = 'ready', session_id = NULL, claimed_at = NULL, created_at = created_at - interval '1 h'
          WHERE state = 'running'";
        server::execute(&world.url, again).await;
    }
    assert_eq!(served.len(), 300, "each within one walk over all");
}

#[tokio::test]
async fn many_users_cost_a_claim_no_more_than_it_takes() {
    let (world, session) = misled().await;
    Rows { user: nth_of("n"), ..Rows::new(&world, 64_000) }.insert(&world).await;
    let mut wish = claim_for(session, 64, QUEUES);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let (claims, rows) = claim(&world, wish.clone()).await;
        assert_eq!(claims.claimed.len(), 64);
        assert!(rows <= 64 * 25, "{rows} rows for 64 runs");
        seen.extend(claims.claimed.iter().map(|one| one.row.run.user));
        wish.round = claims.round;
    }
    assert_eq!(seen.len(), 3 * 64, "each claim goes on behind the last");
    // Half of what the org may run is of users who may run no more and have more that waits.
    server::execute(&world.url, "DELETE FROM runs WHERE state = 'running'").await;
    Rows { user: nth_of("n"), state: "running", ..Rows::new(&world, 500) }.insert(&world).await;
    let queues = Queues { running_per_user_max: 1, running_per_org_max: 1_000, ..QUEUES };
    let (claims, rows) = claim(&world, claim_for(session, 64, queues)).await;
    assert_eq!(claims.claimed.len(), 64, "of those behind them");
    assert!(claims.claimed.iter().all(|one| one.row.run.user.uuid() > nth(500)));
    assert!(rows <= 500 * 4 + 64 * 25, "{rows} rows: what runs, and what is taken");
}

#[tokio::test]
async fn a_session_that_serves_little_does_not_read_what_it_cannot_serve() {
    let (world, general) = misled().await;
    let agent = AgentId::from_uuid(nth(7));
    Rows { user: nth_of("n % 1000"), needs: "{current_time}", ..Rows::new(&world, 20_000) }.insert(&world).await;
    Rows { user: nth_of("n % 4"), agent: format!("'{}'", agent.uuid()), ..Rows::new(&world, 4) }.insert(&world).await;
    let of_one_agent = world.session_with(&LEASES, |new| new.agents = vec![agent]).await;
    let without_tools = world.session_with(&LEASES, |new| new.tools = vec![]).await;
    let org = world.org;
    let of_the_org = world.session_with(&LEASES, |new| {
        new.tools = vec![];
        new.credential.orgs = Some(vec![org]);
    });
    for session in [of_one_agent, without_tools, of_the_org.await] {
        let (claims, rows) = claim(&world, claim_for(session, 1, QUEUES)).await;
        assert_eq!(claims.claimed.iter().map(|one| one.row.run.agent).collect::<Vec<_>>(), [agent]);
        assert!(rows <= 200, "{rows}");
    }
    assert_eq!(world.claim(general, 5).await.len(), 5, "one of the rest, and four that need a tool");
    let elsewhere = world.session_with(&LEASES, |new| new.agents = vec![AgentId::from_uuid(nth(8))]).await;
    let (claims, rows) = claim(&world, claim_for(elsewhere, 9, QUEUES)).await;
    assert_eq!((claims.claimed.len(), claims.left, claims.has_more), (0, Left::Nothing, false));
    assert!(rows <= 20, "{rows}");
}

#[tokio::test]
async fn one_claim_serves_many_sessions() {
    let (world, general) = misled().await;
    let agent = AgentId::from_uuid(nth(7));
    let narrow = world.session_with(&LEASES, |new| new.agents = vec![agent]).await;
    let dead = SessionId::from_uuid(id());
    let mut sessions = vec![SessionRoom { session: dead, credits: 5 }, SessionRoom { session: general, credits: 4 }];
    sessions.push(SessionRoom { session: narrow, credits: 5 });
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(nth(i64::try_from(idle.len()).unwrap()));
    }
    // A thousand that serve other agents only.
    let text = "INSERT INTO worker_sessions (id, credential, worker, capacity, agents, tools, opened_at, heartbeat_at, lease_ends_at)
      SELECT ('10000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'c', 'w', 1, ARRAY[gen_random_uuid()], '{}', now(), now(),
        now() + interval '1 h' FROM generate_series(0, 999) n";
    server::execute(&world.url, text).await;
    sessions.extend(idle.iter().map(|one| SessionRoom { session: SessionId::from_uuid(*one), credits: 1 }));
    Rows { agent: format!("'{}'", agent.uuid()), user: nth_of("n"), ..Rows::new(&world, 3) }.insert(&world).await;
    Rows { user: nth_of("n"), ..Rows::new(&world, 3) }.insert(&world).await;
    let wish = ClaimFor { sessions, limit: 64, queues: QUEUES, round: ClaimRound::default() };
    let (claims, rows) = claim(&world, wish).await;
    assert_eq!(claims.lost, [dead]);
    let of = |session| claims.claimed.iter().filter(move |one| one.row.run.state.session() == Some(session));
    assert_eq!((of(general).count(), of(narrow).count()), (4, 2), "in turns, and what each may serve");
    assert!(of(narrow).all(|one| one.row.run.agent == agent));
    assert!(rows <= 1_003 * 3 + 200, "{rows}: each session once or twice, however little there is for it");
    let runs: BTreeSet<RunId> = claims.claimed.iter().map(|one| one.row.run.id).collect();
    assert_eq!(runs.len(), 6);
    let user = UserId::from_uuid(nth(1));
    assert!(claims.claimed.iter().any(|one| one.row.run.user == user), "in the order of asking");
}
