//! The plumbing of the tests: an org with a person, an agent and a worker, and short names for what they do.

use crate::server;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runmesh_domain::agent::{AgentSpec, OnUnknownOutcome, Tool, ToolKind, ToolPolicy};
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::journal::{ModelStep, Usage};
use runmesh_domain::limits::{Leases, Queues};
use runmesh_domain::log::Position;
use runmesh_domain::message::{Message, Part, add_page};
use runmesh_domain::path::StepKey;
use runmesh_domain::principal::{LeaseClaim, WorkerCredential};
use runmesh_domain::run::{Outcome, StateName};
use runmesh_domain::{Error, Refusal, Result};
use runmesh_store::agents::{self, AgentRef};
use runmesh_store::runs::{
    self, Accepted, ClaimFor, ClaimRound, Claimed, Claims, Committed, Ending, LastStep, NewMessage, OnBusy, Reaped, RunRow,
    SessionRoom,
};
use runmesh_store::sessions::{self, NewSession};
use runmesh_store::steps::{self, Entry, Recorded};
use runmesh_store::threads::{self, NewThread};
use runmesh_store::{Db, PageRequest, Scope, StoreConfig, Tx, orgs};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Leases that no test waits for.
pub const LEASES: Leases =
    Leases { lease_ms: 600_000, heartbeat_ms: 200_000, reaper_ms: 1_000, poll_ms: 1_000, no_worker_ms: 3_600_000 };

/// For reapers that trust the clock from their second look on.
pub const REAPS: Leases = Leases { heartbeat_ms: 0, ..LEASES };

/// Reaps. The first look at the clock is never trusted, and a slow one neither.
pub async fn reap(db: &Db, leases: &Leases) -> Reaped {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(reaped) = runs::reap(db, leases, 1_000).await.unwrap() {
            return reaped;
        }
        assert!(Instant::now() < deadline, "the clock is never trusted");
    }
}

/// Bounds that no test meets unless it sets them.
pub const QUEUES: Queues = Queues {
    queued_per_thread_max: 1_000,
    open_per_user_max: 10_000,
    open_per_org_max: 20_000,
    running_per_user_max: 1_000,
    running_per_org_max: 10_000,
};

/// The credential of the sessions, unless a test has its own.
pub fn credential() -> WorkerCredential {
    WorkerCredential { id: "everything".into(), orgs: None, agents: None }
}

/// One org in a database of its own.
#[derive(Clone)]
pub struct World {
    pub db: Db,
    pub url: String,
    pub org: OrgId,
    pub user: UserId,
    pub agent: AgentId,
}

pub fn id() -> Uuid {
    Uuid::now_v7()
}

/// A spec with one tool that may be repeated, one that may not, and one that is denied.
pub fn spec() -> AgentSpec {
    let http = |name: &str, idempotent, policy| Tool {
        name: name.into(),
        description: String::new(),
        policy,
        kind: ToolKind::Http { url: "http://tool/".into(), schema: "{}".into(), idempotent },
    };
    AgentSpec {
        model: "m".into(),
        tools: vec![
            http("read", true, ToolPolicy::Allow),
            http("write", false, ToolPolicy::Allow),
            http("forbidden", false, ToolPolicy::Deny),
        ],
        ..AgentSpec::default()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::over(server::migrated().await).await
    }

    /// One whose database shows another time than its server, by [`World::set_clock`].
    pub async fn with_own_clock() -> Self {
        let url = server::migrated().await;
        // Found before the server's own, in this database only.
        let text = "CREATE SCHEMA shim; CREATE TABLE shim.clock (step interval NOT NULL); INSERT INTO shim.clock VALUES ('0');
            CREATE FUNCTION shim.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
              'SELECT pg_catalog.clock_timestamp() + step FROM shim.clock';
            GRANT USAGE ON SCHEMA shim TO PUBLIC; GRANT SELECT ON shim.clock TO PUBLIC;
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = shim, pg_catalog, public', current_database()); END $$";
        server::execute(&url, text).await;
        Self::over(url).await
    }

    /// Sets the clock of a database of its own this far from the server's, `1 hour` or `-10 minutes`.
    pub async fn set_clock(&self, step: &str) {
        server::execute(&self.url, &format!("UPDATE shim.clock SET step = '{step}'")).await;
    }

    async fn over(url: String) -> Self {
        let db = Db::connect(&StoreConfig { connections: 8, ..StoreConfig::new(&url, "test") }).await.unwrap();
        Self::org(db, url, "one").await
    }

    /// Another org in the same database.
    pub async fn other(&self, name: &str) -> Self {
        Self::org(self.db.clone(), self.url.clone(), name).await
    }

    async fn org(db: Db, url: String, name: &str) -> Self {
        let org = OrgId::of_name(name);
        let user = UserId::of_subject("test", name);
        let name = name.to_owned();
        let agent = db.tx(Scope::System, move |tx| {
            let name = name.clone();
            async move {
                orgs::ensure(tx, org, &name, Some(user)).await?;
                agents::ensure_default(tx, org, &spec()).await
            }
            .boxed()
        });
        let agent = agent.await.unwrap().id;
        Self { db, url, org, user, agent }
    }

    /// Runs `f` within the org.
    pub async fn org_tx<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.db.tx(Scope::Org(self.org), f).await
    }

    pub async fn system<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.db.tx(Scope::System, f).await
    }
}

/// What people do.
impl World {
    pub async fn thread(&self) -> ThreadId {
        let new = NewThread { id: ThreadId::from_uuid(id()), org: self.org, user: self.user, agent: None, title: String::new() };
        self.org_tx(move |tx| threads::create(tx, new.clone()).boxed()).await.unwrap().id
    }

    /// A thread whose agent fails runs with calls of unknown outcome.
    pub async fn thread_that_fails(&self) -> ThreadId {
        let spec = AgentSpec { on_unknown_outcome: OnUnknownOutcome::Fail, ..spec() };
        let (org, user, agent) = (self.org, self.user, AgentId::from_uuid(id()));
        let thread = self.org_tx(move |tx| {
            let spec = spec.clone();
            async move {
                agents::create(tx, org, agent, &format!("a{}", agent.uuid().simple()), &spec).await?;
                let agent = Some(AgentRef::Id(agent));
                threads::create(tx, NewThread { id: ThreadId::from_uuid(id()), org, user, agent, title: String::new() }).await
            }
            .boxed()
        });
        thread.await.unwrap().id
    }

    pub fn message(&self, thread: ThreadId, text: &str) -> NewMessage {
        NewMessage {
            org: self.org,
            user: self.user,
            thread,
            parts: vec![Part::text(text)],
            on_busy: OnBusy::Enqueue,
            default_model: None,
            traceparent: String::new(),
            run: RunId::from_uuid(id()),
            message: MessageId::from_uuid(id()),
            queues: QUEUES,
            claim_follows: false,
        }
    }

    pub async fn try_send(&self, new: NewMessage) -> Result<Accepted> {
        self.org_tx(move |tx| runs::send(tx, new.clone()).boxed()).await
    }

    pub async fn send(&self, thread: ThreadId, text: &str) -> Accepted {
        self.try_send(self.message(thread, text)).await.unwrap()
    }

    pub async fn cancel(&self, run: RunId) -> Result<(RunRow, Vec<Committed>)> {
        let (org, user) = (self.org, self.user);
        self.org_tx(move |tx| runs::cancel(tx, org, user, run).boxed()).await
    }

    pub async fn get(&self, run: RunId) -> RunRow {
        let org = self.org;
        self.org_tx(move |tx| runs::get(tx, org, run).boxed()).await.unwrap()
    }

    pub async fn state(&self, run: RunId) -> StateName {
        self.get(run).await.run.state.name()
    }

    pub async fn messages(&self, thread: ThreadId) -> Vec<Message> {
        let mut messages = Vec::new();
        for page in self.message_pages(thread, 1_000).await {
            add_page(&mut messages, page);
        }
        messages
    }

    pub async fn message_pages(&self, thread: ThreadId, page_size: u32) -> Vec<Vec<Message>> {
        let (org, mut page_token, mut pages) = (self.org, String::new(), Vec::new());
        loop {
            let wish = PageRequest { page_size, page_token };
            let page = self.org_tx(move |tx| {
                let wish = wish.clone();
                async move { threads::messages(tx, org, thread, &wish).await }.boxed()
            });
            let page = page.await.unwrap();
            page_token = page.next_page_token;
            pages.push(page.items);
            assert!(pages.len() < 100, "the pages end");
            if page_token.is_empty() {
                return pages;
            }
        }
    }
}

/// What workers do.
impl World {
    pub async fn session(&self) -> SessionId {
        self.session_with(&LEASES, |_| {}).await
    }

    pub async fn session_with(&self, leases: &Leases, change: impl FnOnce(&mut NewSession)) -> SessionId {
        let mut new = NewSession {
            id: SessionId::from_uuid(id()),
            worker: "worker".into(),
            capacity: 100,
            credential: credential(),
            agents: vec![],
            tools: vec!["*".into()],
        };
        change(&mut new);
        let (session, leases) = (new.id, *leases);
        self.system(move |tx| {
            let new = new.clone();
            async move { sessions::open(tx, new, &leases).await }.boxed()
        })
        .await
        .unwrap();
        session
    }

    /// One claim: one transaction.
    pub async fn claim_once(&self, wish: ClaimFor) -> Result<Claims> {
        self.system(move |tx| {
            let wish = wish.clone();
            async move { runs::claim(tx, &wish).await }.boxed()
        })
        .await
    }

    /// A whole round of claims, as the sessions of `wish` have credits.
    pub async fn try_claim(&self, mut wish: ClaimFor) -> Result<Vec<Claimed>> {
        let mut all = Vec::new();
        loop {
            let claims = self.claim_once(wish.clone()).await?;
            if !claims.lost.is_empty() {
                return Err(Error::Refused(Refusal::SessionLost));
            }
            for claimed in &claims.claimed {
                let mut sessions = wish.sessions.iter_mut();
                sessions.find(|one| Some(one.session) == claimed.row.run.state.session()).unwrap().credits -= 1;
            }
            all.extend(claims.claimed);
            wish.round = claims.round;
            if !claims.has_more || wish.sessions.iter().all(|one| one.credits == 0) {
                return Ok(all);
            }
        }
    }

    pub async fn claim(&self, session: SessionId, limit: u32) -> Vec<Claimed> {
        self.try_claim(claim_for(session, limit, QUEUES)).await.unwrap()
    }

    /// Sends on a new thread and claims that run.
    pub async fn running(&self, session: SessionId) -> LeaseClaim {
        let thread = self.thread().await;
        self.running_on(session, thread).await
    }

    pub async fn running_on(&self, session: SessionId, thread: ThreadId) -> LeaseClaim {
        let sent = self.send(thread, "hi").await;
        let claimed = self.claim(session, 100).await;
        lease(&claimed.iter().find(|claimed| claimed.row.run.id == sent.run).unwrap().row)
    }

    pub async fn record(&self, lease: LeaseClaim, entries: Vec<Entry>) -> Result<Recorded> {
        self.system(move |tx| steps::record(tx, lease, entries.clone(), None).boxed()).await
    }

    pub async fn late(&self, lease: LeaseClaim, entries: Vec<Entry>) {
        let kept = self.system(move |tx| {
            let entries = entries.clone();
            async move { steps::keep_late(tx, lease, &entries).await }.boxed()
        });
        kept.await.unwrap();
    }

    pub async fn finish(&self, lease: LeaseClaim, outcome: Outcome, last: Option<LastStep>) -> Result<(RunRow, Vec<Committed>)> {
        self.system(move |tx| runs::finish(tx, lease, ending(outcome.clone(), last.clone(), None)).boxed()).await
    }

    pub async fn complete(&self, lease: LeaseClaim, text: &str) -> (RunRow, Vec<Committed>) {
        self.finish(lease, Outcome::Completed, Some(last(1, text))).await.unwrap()
    }

    pub async fn release(&self, lease: LeaseClaim) -> Result<(RunRow, Vec<Committed>)> {
        self.system(move |tx| runs::release(tx, lease, None).boxed()).await
    }

    pub async fn reap(&self) -> Reaped {
        reap(&self.db, &REAPS).await
    }

    /// Lets every run be claimed that waits after attempts in vain.
    pub async fn end_waits(&self) {
        server::execute(&self.url, "UPDATE runs SET not_before = NULL WHERE not_before IS NOT NULL").await;
    }

    /// Makes the database believe that the session's lease passed a second ago.
    pub async fn expire(&self, session: SessionId) {
        let text = format!(
            "UPDATE worker_sessions SET lease_ends_at = clock_timestamp() - interval '1 s' WHERE id = '{}'",
            session.uuid()
        );
        server::execute(&self.url, &text).await;
    }
}

/// A claim of one session, at the beginning of a round.
pub fn claim_for(session: SessionId, limit: u32, queues: Queues) -> ClaimFor {
    ClaimFor { sessions: vec![SessionRoom { session, credits: limit }], limit, queues, round: ClaimRound::default() }
}

pub fn lease(row: &RunRow) -> LeaseClaim {
    LeaseClaim {
        org: row.run.org,
        thread: row.run.thread,
        run: row.run.id,
        fence: row.run.fence,
        session: row.run.state.session().unwrap(),
    }
}

/// A model call that said something and asked for these tools, called c0, c1, ….
pub fn step(text: &str, tools: &[&str]) -> ModelStep {
    let mut parts = vec![Part::text(text)];
    parts
        .extend(tools.iter().enumerate().map(|(index, tool)| Part::tool_call(format!("c{index}"), *tool, r#"{"b": 1, "a": 2}"#)));
    ModelStep { parts, model: "m".into(), finish_reason: "stop".into(), usage: Usage { input_tokens: 3, output_tokens: 2 } }
}

pub fn model_step(step_index: u32, text: &str, tools: &[&str]) -> Entry {
    let result = step(text, tools);
    Entry::ModelStep { step: step_index.into(), digest: digest(&result), result }
}

pub const fn dispatched(step_index: u32, call_index: u32) -> Entry {
    Entry::CallDispatched { call: StepKey::top(step_index).call(call_index) }
}

pub fn done(step_index: u32, call_index: u32, content: &str) -> Entry {
    Entry::CallDone { call: StepKey::top(step_index).call(call_index), content: content.into(), is_error: false }
}

/// The same in a branch.
pub fn in_branch(path: &str, mut entry: Entry) -> Entry {
    match &mut entry {
        Entry::ModelStep { step, .. } => step.path = path.parse().unwrap(),
        Entry::CallDispatched { call } | Entry::CallDone { call, .. } => call.step.path = path.parse().unwrap(),
    }
    entry
}

pub fn last(step_index: u32, text: &str) -> LastStep {
    last_of(step_index, step(text, &[]))
}

pub fn last_of(step_index: u32, result: ModelStep) -> LastStep {
    LastStep { step_index, digest: digest(&result), result, unfinished: false }
}

/// What a holder says of its run's end.
pub fn ending(outcome: Outcome, last_step: Option<LastStep>, position: Option<Position>) -> Ending {
    let digest = digest(&(&outcome, &last_step));
    Ending { outcome, last_step, position, digest }
}

/// Stands for the digest of the bytes that a worker sent.
pub fn digest(said: &impl std::fmt::Debug) -> Sha256Digest {
    Sha256Digest::of(format!("{said:?}").as_bytes())
}
