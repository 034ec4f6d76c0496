//! The mesh that the tests of fail points hurt: two orchestrators, of which one dies again and again.

use super::table::Case;
use crate::harness::mesh;
use crate::idempotency::keyed;
use crate::rpc::Api;
use crate::sql;
use runmesh_client::Client;
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::id::{OrgId, RunId, ThreadId, UserId};
use runmesh_domain::principal::Principal;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Builder, Kind, Mesh, Run};
use runmesh_testkit::{Service, until};
use runmesh_wire::pb::run::run::State;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

/// The process that dies.
pub const VICTIM: Service = Service::Orchestrator(0);
/// The one that goes on.
pub const SURVIVOR: Service = Service::Orchestrator(1);

/// How long the mesh may take for one step.
const DEADLINE: Duration = Duration::from_secs(60);
/// Goes at one death before the test gives up: each may miss, because the other process was faster.
const GOES_MAX: usize = 10;
/// Sessions that are not over.
const LIVING: &str = "SELECT count(*) FROM worker_sessions WHERE lost_at IS NULL";
/// SIGKILL.
const KILLED: i32 = 9;

/// What must come of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// The state that it ends in.
    pub state: StateName,
    /// Whether it waits for a person before, about a call that may have happened.
    pub asks: bool,
    /// How often its call reached the tool at least and at most.
    pub effects: Option<(u64, u64)>,
}

/// A run that a test made.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The run.
    pub run: Run,
    /// What must come of it.
    pub expect: Expect,
}

impl Sent {
    /// The same run, of which something else is expected.
    pub fn expecting(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }
}

/// The mesh, and what was done to it.
pub struct World {
    /// The mesh.
    pub mesh: Mesh,
    /// Every run that was made.
    pub sent: Vec<Sent>,
    /// Calls that were made: each has a key of its own.
    keys: usize,
    /// How often a process died at each point.
    deaths: BTreeMap<String, usize>,
}

impl World {
    /// A mesh on its own engines, whose feed and table hold nothing of others.
    pub async fn start(set: impl FnOnce(Builder) -> Builder) -> Self {
        let mut mesh =
            set(mesh().gateways(1).relays(1).own_engines()).set(Kind::Orchestrator, "LEASES__POLL_MS", "1000").start().await;
        let url = format!("{}/echo", mesh.model().tools_url());
        for (agent, idempotent) in [("safe", true), ("unsafe", false)] {
            let kind = ToolKind::Http { url: url.clone(), schema: r#"{"type":"object"}"#.into(), idempotent };
            let tool = Tool { name: "pay".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
            mesh.client(0).apply_agent(agent, AgentSpec { tools: vec![tool], ..AgentSpec::default() }).await.expect("an agent");
        }
        mesh.kill(VICTIM);
        Self { mesh, sent: Vec::new(), keys: 0, deaths: BTreeMap::new() }
    }

    /// Starts the process that is to die, which serves when this returns, unless it has died by then.
    pub async fn arm(&mut self, operation: &str, point: &str, time: u32, settings: &[(&str, &str)]) {
        let armed = format!("{operation}:{point}:{time}");
        let more: Vec<_> = settings.iter().copied().chain([("RUNMESH_FAIL_POINT", armed.as_str())]).collect();
        self.mesh.start_with(VICTIM, &more);
        let api = self.person_at(VICTIM, "GetOrg", "dev");
        let mesh = std::cell::RefCell::new(&mut self.mesh);
        until("the process serves", DEADLINE, || {
            let (lives, api) = (mesh.borrow_mut().is_running(VICTIM), api.clone());
            async move { (!lives || api.call("GetOrg", json!({})).await.is_ok()).then_some(()) }
        })
        .await;
    }

    /// Asserts that the process killed itself at its point: as the system says, and as it printed.
    pub async fn assert_died(&mut self, operation: &str, point: &str) {
        let status = self.mesh.ended_by_itself(VICTIM, DEADLINE).await;
        assert_eq!(status.signal(), Some(KILLED), "{operation}:{point}: {status}");
        let line = format!("fail point {operation}:{point} reached, this process kills itself");
        let printed = self.mesh.printed(VICTIM).matches(&line).count();
        let deaths = self.deaths.entry(line).or_default();
        *deaths += 1;
        assert_eq!(printed, *deaths, "{operation}:{point}: the process died there");
    }

    /// Kills a process at the point, and waits until what it was busy with is over.
    pub async fn die(&mut self, case: Case) -> Vec<Sent> {
        let Case { operation, point, time, drive } = case;
        if drive.wants_no_other_sessions() {
            until("only the session of the other process is left", DEADLINE, || async {
                (sql::query(&self.mesh, LIVING).await == ["1"]).then_some(())
            })
            .await;
        }
        self.arm(operation, point, time, &drive.settings()).await;
        let mut made = Vec::new();
        for _ in 0..GOES_MAX {
            if !self.victim_lives() {
                break;
            }
            let sent = drive.go(self, case).await;
            for one in &sent {
                self.wait_for_death_or_end(one).await;
            }
            made.extend(sent);
        }
        self.assert_died(operation, point).await;
        self.settle(&made).await;
        self.sent.extend(made.iter().cloned());
        made
    }

    /// Waits until every run is over. Those that ask a person are canceled.
    async fn settle(&self, made: &[Sent]) {
        let client = self.mesh.client(0);
        for Sent { run, expect } in made {
            until("the run rests", DEADLINE, || rests(&client, run.id)).await;
            let state = client.get_run(run.id).await.expect("the run").state();
            assert_eq!(state == State::Waiting, expect.asks, "{}: {state:?}, expected {expect:?}", run.id);
            if expect.asks {
                client.cancel_run(run.id).await.expect("a waiting run can be canceled");
            }
            self.mesh.ended(run).await;
        }
    }

    /// The development org's person, past the gateway, as a caller of that method in an org.
    pub fn person_at(&self, service: Service, method: &str, org: &str) -> Api {
        let user = UserId::of_subject("dev", "you");
        let principal = match method {
            "CreateOrg" => Principal::Person { user, orgs: None },
            _ => Principal::User { org: OrgId::of_name(org), user },
        };
        Api::behind(&self.mesh, service, &principal)
    }

    /// A mutating call at the victim; when it dies of it, the same call again through the gateway.
    pub async fn call(&mut self, method: &str, body: Value) -> Value {
        self.call_at(VICTIM, method, body).await
    }

    async fn call_at(&mut self, service: Service, method: &str, body: Value) -> Value {
        self.keys += 1;
        let body = keyed(&body, &format!("key-{}", self.keys));
        match self.person_at(service, method, "dev").call(method, body.clone()).await {
            Ok(answer) => answer,
            Err(_) => Api::of(&self.mesh).ok(method, body).await,
        }
    }

    /// Sends a message to the victim.
    pub async fn send_on(&mut self, thread: ThreadId, text: &str) -> Sent {
        self.say(VICTIM, thread, text).await
    }

    /// Sends a message.
    pub async fn say(&mut self, service: Service, thread: ThreadId, text: &str) -> Sent {
        let body = json!({"thread_id": thread.to_string(), "parts": [{"text": {"text": text}}]});
        let answer = self.call_at(service, "SendMessage", body).await;
        let field = |name: &str| answer[name].as_str().expect("a field").to_owned();
        let run = Run { thread, id: field("run_id").parse().expect("an id"), cursor: field("cursor") };
        Sent { run, expect: Expect { state: StateName::Completed, asks: false, effects: None } }
    }
}

/// Something once the run is over or waits for a person.
pub async fn rests(client: &Client, run: RunId) -> Option<()> {
    let run = client.get_run(run).await.ok()?;
    (run.end_time.is_some() || run.state() == State::Waiting).then_some(())
}
