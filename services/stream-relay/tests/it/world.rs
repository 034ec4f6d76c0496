//! The world around a relay: engines, an org with its people, runs and their attempts.

use runmesh_bus::{Bus, BusConfig};
use runmesh_domain::agent::{AgentSpec, Tool};
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::{MessageId, OrgId, RunId, SessionId, ThreadId, UserId};
use runmesh_domain::journal::ModelStep;
use runmesh_domain::limits::{Leases, Queues};
use runmesh_domain::log::{Known, Position};
use runmesh_domain::message::Part;
use runmesh_domain::path::StepKey;
use runmesh_domain::principal::{LeaseClaim, Principal, WorkerCredential};
use runmesh_domain::run::Outcome;
use runmesh_engines::{DataDir, EngineOptions, Engines, Silent};
use runmesh_host::Lifecycle;
use runmesh_host::health::Reporter;
use runmesh_host::signed::MeshKey;
use runmesh_store::runs::{
    self, ClaimFor, ClaimRound, Claimed, Committed, Ending, LastStep, LogRows, NewMessage, OnBusy, SessionRoom,
};
use runmesh_store::{Db, Scope, StoreConfig, Tx, agents, orgs, sessions, steps, threads};
use runmesh_stream_relay::Config;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::client::Client;

static ENGINES: OnceCell<Engines> = OnceCell::const_new();
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Both engines, shared by all tests of this process. They end with it.
async fn engines() -> &'static Engines {
    ENGINES.get_or_init(start_engines).await
}

async fn start_engines() -> Engines {
    let engines = Engines::start(EngineOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    Db::migrate(engines.postgres_url()).await.unwrap();
    engines
}

/// An org of its own for one test.
pub struct World {
    pub db: Db,
    pub bus: Bus,
    pub org: OrgId,
    pub user: UserId,
    pub thread: ThreadId,
    postgres_url: String,
    nats_url: String,
    leases: Leases,
}

/// A relay that serves.
pub struct Relay {
    pub life: Lifecycle,
    pub client: Client,
}

impl World {
    pub async fn new() -> Self {
        Self::on(engines().await.nats_url().to_owned()).await
    }

    /// Whose agent has these tools, on engines of its own: nobody else's runs are there when leases are taken back.
    pub async fn alone(tools: Vec<Tool>) -> (Self, Engines) {
        let engines = start_engines().await;
        let leases = Leases { lease_ms: 1_000, heartbeat_ms: 300, ..Leases::default() };
        let urls = (engines.postgres_url().to_owned(), engines.nats_url().to_owned());
        (Self::of(urls, tools, leases).await, engines)
    }

    /// With a NATS server of the test's own.
    pub async fn on(nats_url: String) -> Self {
        let postgres_url = engines().await.postgres_url().to_owned();
        Self::of((postgres_url, nats_url), Vec::new(), Leases::default()).await
    }

    async fn of((postgres_url, nats_url): (String, String), tools: Vec<Tool>, leases: Leases) -> Self {
        let db = Db::connect(&StoreConfig::new(&postgres_url, "test")).await.unwrap();
        let bus = Bus::connect(BusConfig::new(&nats_url, "test")).await.unwrap();
        bus.ensure().await.unwrap();
        let name = Uuid::now_v7().simple().to_string();
        let (org, user) = (OrgId::of_name(&name), UserId::of_subject("test", &name));
        let thread = ThreadId::from_uuid(Uuid::now_v7());
        let world = Self { db, bus, org, user, thread, postgres_url, nats_url, leases };
        world.make_org(name, tools).await;
        world
    }

    async fn make_org(&self, name: String, tools: Vec<Tool>) {
        let (org, user, id) = (self.org, self.user, self.thread);
        self.system(move |tx| {
            let (name, tools) = (name.clone(), tools.clone());
            Box::pin(async move {
                orgs::ensure(tx, org, &name, Some(user)).await?;
                agents::ensure_default(tx, org, &AgentSpec { model: "m".into(), tools, ..AgentSpec::default() }).await?;
                threads::create(tx, threads::NewThread { id, org, user, agent: None, title: "t".into() }).await
            })
        })
        .await;
    }

    pub async fn system<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> futures::future::BoxFuture<'t, runmesh_domain::Result<T>> + Send + Sync + 'static,
    {
        self.db.tx(Scope::System, work).await.unwrap()
    }

    /// The settings of a relay of this world.
    pub async fn config(&self) -> Config {
        Config {
            postgres_url: self.postgres_url.clone().into(),
            nats_url: self.nats_url.clone(),
            mesh_key: Some(MeshKey::from_hex(KEY).unwrap()),
            // Nobody hints at the turns of these tests, unless a test says so.
            thread_look_ms: 1_000,
            ..Config::default()
        }
    }

    pub fn postgres_url(&self) -> &str {
        &self.postgres_url
    }

    pub async fn relay(&self) -> Relay {
        serve(self.config().await).await
    }

    pub fn person(&self) -> Principal {
        Principal::User { org: self.org, user: self.user }
    }

    /// Accepts a message; the run is READY, and its log is empty.
    pub async fn send(&self) -> RunId {
        let (org, user, thread, run) = (self.org, self.user, self.thread, RunId::from_uuid(Uuid::now_v7()));
        let message = MessageId::from_uuid(Uuid::now_v7());
        self.system(move |tx| {
            let new = NewMessage {
                org,
                user,
                thread,
                parts: vec![Part::text("hello")],
                on_busy: OnBusy::Enqueue,
                default_model: None,
                traceparent: String::new(),
                run,
                message,
                queues: Queues::default(),
                claim_follows: false,
            };
            Box::pin(async move { runs::send(tx, new).await })
        })
        .await;
        run
    }

    /// A new session claims the org's run, and its log is told.
    pub async fn claim(&self) -> LeaseClaim {
        let (claimed, lease) = self.claim_untold().await;
        self.tell(claimed.committed).await;
        lease
    }

    /// As above, but nobody tells the log.
    pub async fn claim_untold(&self) -> (Claimed, LeaseClaim) {
        let (org, session, leases) = (self.org, SessionId::from_uuid(Uuid::now_v7()), self.leases);
        let mut claimed = self
            .system(move |tx| {
                let credential = WorkerCredential { id: "w".into(), orgs: Some(vec![org]), agents: None };
                let new = sessions::NewSession {
                    id: session,
                    worker: "w".into(),
                    capacity: 10,
                    credential,
                    agents: Vec::new(),
                    tools: vec!["*".into()],
                };
                Box::pin(async move {
                    sessions::open(tx, new, &leases).await?;
                    let sessions = vec![SessionRoom { session, credits: 1 }];
                    let wish = ClaimFor { sessions, limit: 1, queues: Queues::default(), round: ClaimRound::default() };
                    Ok(runs::claim(tx, &wish).await?.claimed)
                })
            })
            .await;
        let claimed = claimed.pop().unwrap();
        let run = &claimed.row.run;
        let lease = LeaseClaim { org, thread: run.thread, run: run.id, fence: run.fence, session };
        (claimed, lease)
    }

    /// Tells the log of the first of them what was committed: a run that was promoted with it is told of by its claim.
    pub async fn tell(&self, committed: Vec<Committed>) {
        let Some(first) = committed.first() else { return };
        let rows = self.log_rows(first.ids.id).await;
        let of_first = committed.iter().filter(|row| row.ids.id == rows.ids.id);
        let transitions: Vec<_> = of_first.map(|row| (row.transition.clone(), false)).collect();
        self.bus.log().catch_up(rows.ids, &Known { transitions: &transitions, ..rows.known() }).await.unwrap();
    }

    /// Everything of a run that its log is to hold.
    pub async fn log_rows(&self, run: RunId) -> LogRows {
        self.system(move |tx| Box::pin(async move { runs::log_rows(tx, run, 0, true).await })).await
    }

    /// The holder is gone: its lease passes, and the run is taken from it. Only for a world that is alone.
    pub async fn lose(&self, lease: LeaseClaim) {
        let reap = async || {
            let reaped = runs::reap(&self.db, &self.leases, 100).await.unwrap()?;
            reaped.into_iter().find_map(|(run, committed)| (run == lease.run).then_some(committed))
        };
        let committed = eventually("the run is taken from a session that is lost", reap).await;
        self.tell(committed).await;
    }

    /// The person cancels the run.
    pub async fn cancel(&self, run: RunId) {
        let (org, user) = (self.org, self.user);
        let (_, committed) = self.system(move |tx| Box::pin(async move { runs::cancel(tx, org, user, run).await })).await;
        self.tell(committed).await;
    }

    /// The holder gives the run back.
    pub async fn release(&self, lease: LeaseClaim) {
        let (_, committed) = self.system(move |tx| Box::pin(async move { runs::release(tx, lease, None).await })).await;
        self.tell(committed).await;
    }

    /// The holder journals a step that gave this text.
    pub async fn journal(&self, lease: LeaseClaim, step_index: u32, text: &str, position: Position) {
        let result = ModelStep { parts: vec![Part::text(text)], model: "m".into(), ..ModelStep::default() };
        self.system(move |tx| {
            let entries = vec![journaled(step_index.into(), result.clone())];
            Box::pin(async move { steps::record(tx, lease, entries, Some(position)).await })
        })
        .await;
    }

    /// The holder ends the run with this text; its log is told.
    pub async fn finish(&self, lease: LeaseClaim, text: &str, position: Option<Position>) {
        let committed = self.finish_untold(lease, text, position).await;
        self.tell(committed).await;
    }

    /// As above, but nobody tells the log.
    pub async fn finish_untold(&self, lease: LeaseClaim, text: &str, position: Option<Position>) -> Vec<Committed> {
        let result =
            ModelStep { parts: vec![Part::text(text)], model: "m".into(), finish_reason: "stop".into(), ..ModelStep::default() };
        let (_, committed) = self
            .system(move |tx| {
                let ending = ending(Outcome::Completed, Some(last(1, result.clone())), position);
                Box::pin(async move { runs::finish(tx, lease, ending).await })
            })
            .await;
        committed
    }
}

/// A journaled step.
pub fn journaled(step: StepKey, result: ModelStep) -> steps::Entry {
    steps::Entry::ModelStep { step, digest: digest(&result), result }
}

/// The step that ends a run.
pub fn last(step_index: u32, result: ModelStep) -> LastStep {
    LastStep { step_index, digest: digest(&result), result, unfinished: false }
}

/// What a holder says of its run's end.
pub fn ending(outcome: Outcome, last_step: Option<LastStep>, position: Option<Position>) -> Ending {
    let digest = digest(&(&outcome, &last_step));
    Ending { outcome, last_step, position, digest }
}

/// Stands for the digest of the bytes that a worker sent.
fn digest(said: &impl std::fmt::Debug) -> Sha256Digest {
    Sha256Digest::of(format!("{said:?}").as_bytes())
}

/// Serves a relay on a free port.
pub async fn serve(config: Config) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let life = Lifecycle::new();
    runmesh_stream_relay::serve(config, listener, life.clone(), Reporter::new(runmesh_stream_relay::services())).await.unwrap();
    let client = Client::connect(address, &MeshKey::from_hex(KEY).unwrap()).await;
    Relay { life, client }
}

/// Polls until `attempt` gives something; panics naming `what` after half a minute.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl FnMut() -> F) -> T {
    runmesh_testkit::until(what, Duration::from_secs(30), attempt).await
}

/// Waits at most half a minute.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap()
}
