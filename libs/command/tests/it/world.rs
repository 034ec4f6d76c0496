//! The engines, an org of its own for every test, and commands that tests can hold and count.

use runmesh_bus::{Bus, BusConfig};
use runmesh_command::{By, Caller, Command, Commands, Done, Idempotent, Publisher, WorkSignal};
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::{AgentId, MessageId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::limits::{Leases, Queues};
use runmesh_domain::message::Part;
use runmesh_domain::principal::WorkerCredential;
use runmesh_domain::{Refusal, Result};
use runmesh_engines::{DataDir, EngineOptions, Engines, Silent};
use runmesh_store::runs::{self, Accepted, ClaimFor, ClaimRound, Claimed, NewMessage, OnBusy, SessionRoom};
use runmesh_store::threads::{self, NewThread, Thread};
use runmesh_store::{Db, PageRequest, Scope, StoreConfig, Tx, agents, orgs, outbox, sessions};
use runmesh_wire::pb::thread as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Barrier, OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

static ENGINES: OnceCell<Engines> = OnceCell::const_new();

/// Both engines, shared by all tests of this process. They end with it.
async fn engines() -> &'static Engines {
    ENGINES
        .get_or_init(|| async {
            let engines = Engines::start(EngineOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
            Db::migrate(engines.postgres_url()).await.unwrap();
            engines
        })
        .await
}

/// One org, and a replica that runs its commands.
pub struct World {
    pub db: Db,
    pub bus: Bus,
    pub work: Arc<WorkSignal>,
    pub publisher: Publisher,
    pub commands: Commands,
    pub admin: Caller,
}

impl World {
    pub async fn new() -> Self {
        Self::with_publisher(|publisher| publisher).await
    }

    pub async fn with_publisher(change: impl FnOnce(Publisher) -> Publisher) -> Self {
        let engines = engines().await;
        let db = Db::connect(&StoreConfig::new(engines.postgres_url(), "test")).await.unwrap();
        let bus = Bus::connect(BusConfig::new(engines.nats_url(), "test")).await.unwrap();
        bus.ensure().await.unwrap();
        let (work, tasks) = (Arc::new(WorkSignal::default()), TaskTracker::new());
        let publisher = change(Publisher::new(db.clone(), bus.clone(), Arc::clone(&work), tasks.clone()));
        let commands = Commands::new(db.clone(), publisher.clone(), tasks);
        let name = Uuid::now_v7().simple().to_string();
        let admin = Caller { org: OrgId::of_name(&name), user: UserId::of_subject("test", &name) };
        let make = MakeOrg { name, admin };
        db.run(Scope::System, make).await.unwrap();
        Self { db, bus, work, publisher, commands, admin }
    }

    /// Has marks written until the test ends.
    pub fn write_marks(&self) {
        tokio::spawn(self.publisher.clone().write_marks(CancellationToken::new()));
    }

    /// A caller of the org without a place in it.
    pub fn stranger(&self) -> Caller {
        Caller { user: UserId::of_subject("test", "stranger"), ..self.admin }
    }

    /// Sends a message on a new thread. Nothing is published.
    pub async fn accept(&self) -> Accepted {
        let Caller { org, user } = self.admin;
        self.db.run(Scope::Org(org), Accept { org, user }).await.unwrap()
    }

    /// Claims the org's READY runs for a new session. Nothing is published.
    pub async fn claim(&self) -> Vec<Claimed> {
        self.db.run(Scope::System, Claim { org: self.admin.org }).await.unwrap()
    }

    /// The runs with transitions that the feed has not got, of this org.
    pub async fn unfed(&self) -> Vec<RunId> {
        self.db.run(Scope::System, Unfed(self.admin.org)).await.unwrap()
    }

    /// The runs with transitions that their logs have not got, of this org.
    pub async fn unlogged(&self) -> Vec<RunId> {
        self.db.run(Scope::System, Unlogged(self.admin.org)).await.unwrap()
    }

    pub async fn thread_count(&self) -> usize {
        self.db.run(Scope::Org(self.admin.org), Threads(self.admin.org)).await.unwrap()
    }
}

/// Polls until `attempt` gives something; panics naming `what` after half a minute.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl FnMut() -> F) -> T {
    runmesh_testkit::until(what, Duration::from_secs(30), attempt).await
}

/// Waits at most half a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap()
}

/// What a test does to the commands of its calls, and learns of them.
#[derive(Clone, Default)]
pub struct Control {
    /// How often a command began its work.
    pub begun: Arc<AtomicU32>,
    /// The first work of a command waits for those of others.
    pub together: Option<Arc<Barrier>>,
    /// Work waits for a permit.
    pub gate: Option<Arc<Semaphore>>,
    /// So many first works are refused.
    pub refusals: Arc<AtomicU32>,
}

impl Control {
    async fn pass(&self, is_first: bool) -> Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let (Some(together), true) = (&self.together, is_first) {
            together.wait().await;
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refused.is_ok() { Err(Refusal::NotFound { what: "agent" }.into()) } else { Ok(()) }
    }
}

/// Creates a thread, as the test controls it.
pub struct Create {
    new: NewThread,
    control: Control,
    runs: AtomicU32,
}

impl Command for Create {
    type Answer = Done<Thread>;

    async fn run(&self, tx: &mut Tx) -> Result<Done<Thread>> {
        self.control.pass(self.runs.fetch_add(1, Ordering::SeqCst) == 0).await?;
        Ok(Done::quiet(threads::create(tx, self.new.clone()).await?))
    }
}

/// A call that creates a thread. Two with the same title have the same body.
pub fn create(caller: Caller, key: &str, title: &str, control: &Control) -> Idempotent<Create, Thread, pb::CreateThreadResponse> {
    let request = pb::CreateThreadRequest { idempotency_key: key.into(), agent: String::new(), title: title.into() };
    let decode = |request: pb::CreateThreadRequest| {
        if request.title.is_empty() {
            return Err(Refusal::field("title", "is required").into());
        }
        let id = ThreadId::from_uuid(Uuid::now_v7());
        let new = NewThread { id, org: caller.org, user: caller.user, agent: None, title: request.title };
        Ok(Create { new, control: control.clone(), runs: AtomicU32::new(0) })
    };
    let encode = |thread: Thread| {
        let thread = pb::Thread { thread_id: thread.id.to_string(), ..pb::Thread::default() };
        pb::CreateThreadResponse { thread: Some(thread), replayed: false }
    };
    Idempotent::new(By::Member(caller), request, decode, encode).unwrap()
}

struct MakeOrg {
    name: String,
    admin: Caller,
}

impl Command for MakeOrg {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        orgs::ensure(tx, self.admin.org, &self.name, Some(self.admin.user)).await?;
        let spec = AgentSpec { model: "m".into(), ..AgentSpec::default() };
        agents::ensure_default(tx, self.admin.org, &spec).await.map(drop)
    }
}

struct Accept {
    org: OrgId,
    user: UserId,
}

impl Command for Accept {
    type Answer = Accepted;

    async fn run(&self, tx: &mut Tx) -> Result<Accepted> {
        let (org, user, thread) = (self.org, self.user, ThreadId::from_uuid(Uuid::now_v7()));
        threads::create(tx, NewThread { id: thread, org, user, agent: None, title: "t".into() }).await?;
        let new = NewMessage {
            org,
            user,
            thread,
            parts: vec![Part::text("hello")],
            on_busy: OnBusy::Enqueue,
            default_model: None,
            traceparent: String::new(),
            run: RunId::from_uuid(Uuid::now_v7()),
            message: MessageId::from_uuid(Uuid::now_v7()),
            queues: Queues::default(),
            claim_follows: false,
        };
        runs::send(tx, new).await
    }
}

struct Claim {
    org: OrgId,
}

impl Command for Claim {
    type Answer = Vec<Claimed>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<Claimed>> {
        let session = SessionId::from_uuid(Uuid::now_v7());
        let new = sessions::NewSession {
            id: session,
            worker: "worker".into(),
            capacity: 10,
            credential: WorkerCredential { id: "worker".into(), orgs: Some(vec![self.org]), agents: None },
            agents: Vec::new(),
            tools: vec!["*".into()],
        };
        sessions::open(tx, new, &Leases::default()).await?;
        let sessions = vec![SessionRoom { session, credits: 10 }];
        let wish = ClaimFor { sessions, limit: 10, queues: Queues::default(), round: ClaimRound::default() };
        Ok(runs::claim(tx, &wish).await?.claimed)
    }
}

struct Unfed(OrgId);

impl Command for Unfed {
    type Answer = Vec<RunId>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<RunId>> {
        let rows = outbox::unfed(tx, outbox::Slice::whole(), 10_000).await?.items;
        let mut runs: Vec<RunId> = rows.into_iter().filter(|(ids, _)| ids.org == self.0).map(|(ids, _)| ids.id).collect();
        runs.sort_unstable();
        runs.dedup();
        Ok(runs)
    }
}

struct Unlogged(OrgId);

impl Command for Unlogged {
    type Answer = Vec<RunId>;

    async fn run(&self, tx: &mut Tx) -> Result<Vec<RunId>> {
        let rows = outbox::unlogged(tx, 0, outbox::Slice::whole(), 10_000).await?.items;
        Ok(rows.into_iter().filter(|(ids, _)| ids.org == self.0).map(|(ids, _)| ids.id).collect())
    }
}

struct Threads(OrgId);

impl Command for Threads {
    type Answer = usize;

    async fn run(&self, tx: &mut Tx) -> Result<usize> {
        let all =
            threads::ListThreads { page: PageRequest { page_size: 100, ..PageRequest::default() }, agent: None, user: None };
        Ok(threads::list(tx, self.0, &all).await?.items.len())
    }
}

/// A new agent's id.
pub fn agent_id() -> AgentId {
    AgentId::from_uuid(Uuid::now_v7())
}
