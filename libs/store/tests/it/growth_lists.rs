//! A page of a list costs a page, whatever the filter and whatever else there is: other states, people, agents, orgs, sessions. And
//! whatever the planner knew: when it made its plans of empty tables whose indexes mislead it, and when it knows every row.

use crate::fixture::{LEASES, QUEUES, World};
use crate::server;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runmesh_domain::Result;
use runmesh_domain::id::{AgentId, OrgId, RunId, ThreadId, UserId};
use runmesh_domain::run::StateName;
use runmesh_store::agents::AgentRef;
use runmesh_store::runs::{self, ListRuns};
use runmesh_store::threads::{self, ListThreads};
use runmesh_store::{Db, PageRequest, Scope, StoreConfig, Tx, actions, agents, orgs, probe, sessions, summary};
use std::sync::Arc;
use uuid::Uuid;

/// Rows of each kind that a list must pass over.
const MANY: i64 = 20_000;
/// Rows that one page may read, with whatever is looked up beside it.
const ROWS_MAX: i64 = 200;
const PAGE: u32 = 50;

/// Who and what the rows are of.
#[derive(Debug, Clone, Copy)]
struct Cast {
    org: OrgId,
    user: UserId,
    agent: AgentId,
    /// Of the org and its user, with all of its runs that are over.
    thread: ThreadId,
    /// An agent with few threads.
    rare_agent: AgentId,
    /// An org with many open runs, one of which is READY.
    crowd: OrgId,
    ready: RunId,
}

impl Cast {
    fn new(world: &World, thread: ThreadId) -> Self {
        Self {
            org: world.org,
            user: world.user,
            agent: world.agent,
            thread,
            rare_agent: AgentId::from_uuid(Uuid::from_u128(0xa)),
            crowd: OrgId::from_uuid(Uuid::from_u128(0xc)),
            ready: RunId::from_uuid(Uuid::from_u128(0xd)),
        }
    }

    /// Few rows that are looked for among many that are not.
    fn rows(&self) -> String {
        let Self { org, user, agent, thread, rare_agent, crowd, ready } = *self;
        let run = "INSERT INTO runs (id, org_id, thread_id, user_id, agent_id, agent_version, turn_number, state, version,
          fence, needs, created_at, changed_at, claimed_at, ended_at, reason, session_id, place)";
        let ago = "now() - n * interval '1 ms'";
        let over = |count: i64, from: i64, state: &str, reason: &str| {
            format!(
                "{run} SELECT gen_random_uuid(), '{org}', '{thread}', '{user}', '{agent}', 1, {from} + n, '{state}', 4,
                   1, '{{}}', {ago}, now(), now(), now(), '{reason}', NULL, {from} + n FROM generate_series(1, {count}) n;",
                org = org.uuid(),
                thread = thread.uuid(),
                user = user.uuid(),
                agent = agent.uuid()
            )
        };
        let open = |count: i64, state: &str, session: &str| {
            format!(
                "{run} SELECT gen_random_uuid(), '{crowd}', gen_random_uuid(), '{user}', '{agent}', 1, 1, '{state}', 1, 1,
                   '{{}}', {ago}, now(), now(), NULL, '', {session}, 1 FROM generate_series(1, {count}) n;",
                crowd = crowd.uuid(),
                user = user.uuid(),
                agent = agent.uuid()
            )
        };
        let threads = |count: i64, user: &str, agent: &str| {
            format!(
                "INSERT INTO threads (id, org_id, user_id, agent_id, updated_at)
                 SELECT gen_random_uuid(), '{org}', {user}, '{agent}', {ago} FROM generate_series(1, {count}) n;",
                org = org.uuid()
            )
        };
        let (own_user, own_agent, rare) = (quoted(user.uuid()), agent.uuid().to_string(), rare_agent.uuid().to_string());
        [
            over(MANY, 10, "completed", ""),
            over(1_000, 10 + MANY, "canceled", ""),
            over(1_000, 2_000 + MANY, "failed", "X"),
            over(3, 0, "aborted", ""),
            format!("UPDATE threads SET next_turn = 100000 WHERE id = '{}';", thread.uuid()),
            format!("INSERT INTO orgs (id, name) VALUES ('{}', 'crowd');", crowd.uuid()),
            open(MANY, "queued", "NULL"),
            open(MANY, "running", "gen_random_uuid()"),
            open(1, "ready", "NULL"),
            format!("UPDATE runs SET id = '{}' WHERE state = 'ready';", ready.uuid()),
            threads(MANY, "gen_random_uuid()", &own_agent),
            threads(MANY, &own_user, &Uuid::from_u128(0xb).to_string()),
            threads(3, &own_user, &rare),
            threads(3, "gen_random_uuid()", &rare),
            others(self),
        ]
        .concat()
    }
}

/// Questions, agents, members, sessions and messages.
fn others(cast: &Cast) -> String {
    let (org, user, thread) = (cast.org.uuid(), cast.user.uuid(), cast.thread.uuid());
    let actions = |count: i64, org: &str| {
        format!(
            "INSERT INTO pending_actions (id, org_id, run_id, thread_id, kind, payload, digest, state, created_at, expires_at)
             SELECT gen_random_uuid(), {org}, gen_random_uuid(), gen_random_uuid(), 'recovery', jsonb_build_object('v', 1, 'summary', '', 'calls', '[]'::jsonb), sha256(''), 'pending',
               now() - n * interval '1 ms', now() + n * interval '1 s' FROM generate_series(1, {count}) n;"
        )
    };
    let sessions = |count: i64, orgs: &str, lost: &str| {
        format!(
            "INSERT INTO worker_sessions (id, credential, worker, capacity, orgs, tools, opened_at, heartbeat_at, lease_ends_at,
               lost_at, drained)
             SELECT gen_random_uuid(), 'c', 'w', 1, {orgs}, '{{*}}', now() - n * interval '1 ms', now(), now() + interval '1 h',
               {lost}, {lost} IS NOT NULL FROM generate_series(1, {count}) n;"
        )
    };
    [
        actions(MANY, "gen_random_uuid()"),
        actions(1_000, &quoted(org)),
        format!(
            "INSERT INTO orgs (id, name) SELECT gen_random_uuid(), 'o' || n FROM generate_series(1, 100) n;
             INSERT INTO agents (id, org_id, name, version, spec)
             SELECT gen_random_uuid(), o.id, 'a' || n, 1, '{{}}' FROM orgs o, generate_series(1, {MANY} / 100) n WHERE o.id <> '{org}';
             INSERT INTO members (org_id, user_id, role) SELECT '{org}', gen_random_uuid(), 'member' FROM generate_series(1, {MANY}) n;
             INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, place, created_at)
             SELECT gen_random_uuid(), '{org}', '{thread}', gen_random_uuid(), n, 'user', '[]', 1, false, n, now()
             FROM generate_series(1, {MANY}) n;
             UPDATE members SET role = 'admin' WHERE user_id = '{user}';"
        ),
        sessions(MANY, "ARRAY[gen_random_uuid()]", "NULL"),
        sessions(MANY, "NULL", "now() - interval '20 h'"),
        sessions(MANY, &format!("ARRAY[{}]", quoted(org)), "now() - interval '20 h'"),
        sessions(3, &format!("ARRAY[{}]", quoted(org)), "NULL"),
    ]
    .concat()
}

/// As an SQL literal.
fn quoted(id: Uuid) -> String {
    format!("'{id}'::uuid")
}

/// Leaves every index large and empty, and then those small that would be a wrong way in.
async fn mislead_the_planner(world: &World, cast: &Cast) {
    let tables = ["runs", "threads", "agents", "members", "messages", "pending_actions", "worker_sessions"];
    let mut text: String = tables.iter().map(|table| format!("ALTER TABLE {table} SET (autovacuum_enabled = off);")).collect();
    text.push_str(&cast.rows());
    text.push_str(&format!(
        "DELETE FROM runs; DELETE FROM messages; DELETE FROM pending_actions; DELETE FROM worker_sessions;
         DELETE FROM threads WHERE id <> '{thread}'; DELETE FROM agents WHERE org_id <> '{org}';
         DELETE FROM members WHERE user_id <> '{user}'; DELETE FROM orgs WHERE id <> '{org}';",
        thread = cast.thread.uuid(),
        org = cast.org.uuid(),
        user = cast.user.uuid()
    ));
    for index in [
        "runs_pkey",
        "runs_turn",
        "runs_ready_since",
        "runs_over_of_thread",
        "threads_pkey",
        "threads_newest",
        "agents_pkey",
        "agents_ever",
        "members_pkey",
        "messages_pkey",
        "pending_actions_pkey",
        "pending_actions_due",
        "pending_actions_run",
        "worker_sessions_pkey",
        "worker_sessions_open",
    ] {
        text.push_str(&format!("REINDEX INDEX {index};"));
    }
    server::execute(&world.url, &text).await;
}

/// What people read, each with the rows that it read and how many it gave.
struct Reads<'a> {
    db: &'a Db,
    all: Vec<(String, usize, i64)>,
}

impl Reads<'_> {
    async fn of<F>(&mut self, what: &str, scope: Scope, work: F)
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<usize>> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let read = self.db.read(scope, move |tx| {
            let work = Arc::clone(&work);
            async move {
                // The server counts from its session's last report on, so what stands there before is taken off.
                let before = probe::rows_read(tx).await?;
                let given = work(tx).await?;
                Ok((given, probe::rows_read(tx).await? - before))
            }
            .boxed()
        });
        let (given, rows) = read.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.all.push((what.to_owned(), given, rows));
    }

    async fn runs(&mut self, what: &str, org: OrgId, thread: Option<ThreadId>, states: &[StateName]) {
        let wanted = ListRuns { page: page(), thread, states: states.to_vec(), set_aside: false };
        self.of(what, Scope::Org(org), move |tx| {
            let wanted = wanted.clone();
            async move { Ok(runs::list(tx, org, &wanted).await?.items.len()) }.boxed()
        })
        .await;
    }

    async fn threads(&mut self, what: &str, org: OrgId, user: Option<UserId>, agent: Option<AgentId>) {
        self.of(what, Scope::Org(org), move |tx| {
            async move { Ok(threads::list(tx, org, &ListThreads { page: page(), agent, user }).await?.items.len()) }.boxed()
        })
        .await;
    }
}

fn page() -> PageRequest {
    PageRequest { page_size: PAGE, ..PageRequest::default() }
}

/// Every list with every filter.
async fn every_list(db: &Db, cast: Cast) -> Vec<(String, usize, i64)> {
    use StateName::{Aborted, Canceled, Completed, Failed, Queued, Ready, Running, Waiting};
    let Cast { org, user, agent, thread, rare_agent, crowd, ready } = cast;
    let mut reads = Reads { db, all: Vec::new() };
    reads.runs("runs", org, None, &[]).await;
    reads.runs("runs ABORTED", org, None, &[Aborted]).await;
    reads.runs("runs COMPLETED, FAILED, CANCELED", org, None, &[Completed, Failed, Canceled]).await;
    reads.runs("runs COMPLETED and ABORTED, named twice", org, None, &[Completed, Aborted, Completed]).await;
    reads.runs("runs open, where none is", org, None, &[Queued, Ready, Running, Waiting]).await;
    reads.runs("runs READY among many QUEUED", crowd, None, &[Ready]).await;
    reads.runs("runs QUEUED and RUNNING", crowd, None, &[Queued, Running]).await;
    reads.runs("runs of a thread", org, Some(thread), &[]).await;
    reads.runs("runs of a thread ABORTED", org, Some(thread), &[Aborted]).await;
    reads.runs("runs of a thread QUEUED, ABORTED, FAILED", org, Some(thread), &[Queued, Aborted, Failed]).await;
    for thread in [None, Some(thread)] {
        let wanted = ListRuns { page: page(), thread, set_aside: true, ..ListRuns::default() };
        reads
            .of("runs set aside", Scope::Org(org), move |tx| {
                let wanted = wanted.clone();
                async move { Ok(runs::list(tx, org, &wanted).await?.items.len()) }.boxed()
            })
            .await;
    }
    reads.threads("threads", org, None, None).await;
    reads.threads("threads of a person", org, Some(user), None).await;
    reads.threads("threads of nobody", org, Some(UserId::from_uuid(Uuid::from_u128(1))), None).await;
    reads.threads("threads of an agent", org, None, Some(agent)).await;
    reads.threads("threads of a rare agent", org, None, Some(rare_agent)).await;
    reads.threads("threads of a person with a rare agent", org, Some(user), Some(rare_agent)).await;
    let own = Scope::Org(org);
    reads.of("the queue", own, move |tx| async move { Ok(runs::queue(tx, org, thread).await?.len()) }.boxed()).await;
    reads
        .of("messages", own, move |tx| async move { Ok(threads::messages(tx, org, thread, &page()).await?.items.len()) }.boxed())
        .await;
    reads.of("inbox", own, move |tx| async move { Ok(actions::list_pending(tx, org, &page()).await?.items.len()) }.boxed()).await;
    reads.of("agents", own, move |tx| async move { Ok(agents::list(tx, org, &page()).await?.items.len()) }.boxed()).await;
    for by in [AgentRef::Id(agent), AgentRef::default_agent()] {
        let by = Arc::new(by);
        reads
            .of("an agent", own, move |tx| {
                let by = Arc::clone(&by);
                async move { agents::get(tx, org, &by).await.map(|_| 1) }.boxed()
            })
            .await;
    }
    reads.of("members", own, move |tx| async move { Ok(orgs::list_members(tx, org, &page()).await?.items.len()) }.boxed()).await;
    reads
        .of("workers", Scope::System, move |tx| async move { Ok(sessions::list(tx, org, &LEASES, PAGE).await?.len()) }.boxed())
        .await;
    reads
        .of("summary", own, move |tx| async move { Ok(summary::summary(tx, org, &LEASES, PAGE).await?.runs.len()) }.boxed())
        .await;
    reads
        .of("blocked by", Scope::Org(crowd), move |tx| {
            let queues = runmesh_domain::limits::Queues { running_per_user_max: 2, running_per_org_max: 100, ..QUEUES };
            async move { Ok(usize::from(runs::blocked_by(tx, ready, &queues).await?.is_some())) }.boxed()
        })
        .await;
    reads.all
}

fn check(read: &[(String, usize, i64)]) {
    let many: Vec<_> = read.iter().filter(|(_, _, rows)| *rows > ROWS_MAX).collect();
    assert!(many.is_empty(), "read more than {ROWS_MAX} rows: {many:?}");
    assert!(read.iter().all(|(_, given, rows)| *rows >= i64::try_from(*given).unwrap()), "not all were counted: {read:?}");
    let given = |what: &str| read.iter().find(|(name, ..)| name == what).unwrap().1;
    for (what, count) in [
        ("runs", PAGE as usize),
        ("runs ABORTED", 3),
        ("runs READY among many QUEUED", 1),
        ("runs of a thread ABORTED", 3),
        ("threads of a person", PAGE as usize),
        ("threads of a rare agent", 6),
        ("threads of a person with a rare agent", 3),
        ("inbox", PAGE as usize),
        ("members", PAGE as usize),
        ("messages", PAGE as usize),
        ("workers", 3),
        ("blocked by", 1),
    ] {
        assert_eq!(given(what), count, "{what}");
    }
}

#[tokio::test]
async fn a_page_of_a_list_costs_a_page() {
    let world = World::new().await;
    let cast = Cast::new(&world, world.thread().await);
    mislead_the_planner(&world, &cast).await;
    // Now every plan is made, of tables as good as empty, on the one connection.
    let config = StoreConfig { read_connections: 1, ..StoreConfig::new(&world.url, "test") };
    let db = Db::connect(&config).await.unwrap();
    server::execute(&world.url, &format!("INSERT INTO orgs (id, name) VALUES ('{}', 'x')", cast.crowd.uuid())).await;
    every_list(&db, cast).await;
    server::execute(&world.url, &format!("DELETE FROM orgs WHERE id = '{}'; {}", cast.crowd.uuid(), cast.rows())).await;
    check(&every_list(&db, cast).await);
    // And of a planner who knows that nearly every row is this org's.
    server::execute(&world.url, "ANALYZE").await;
    let db = Db::connect(&config).await.unwrap();
    check(&every_list(&db, cast).await);
}
