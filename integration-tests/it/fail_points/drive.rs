//! What brings a process to its fail point, and what must come of the runs that it was busy with.

use super::table::{BEFORE, Case};
use super::world::{Expect, SURVIVOR, Sent, VICTIM, World, rests};
use crate::rpc::Api;
use crate::session::{Session, credential};
use runmesh_domain::run::StateName;
use runmesh_testkit::{Service, until};
use serde_json::json;
use std::time::Duration;

/// How long a step of a script may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a test does until the process is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Nothing: it gets there as it starts.
    Start,
    /// The settings name an org that is not there yet.
    NewOrg,
    /// A worker comes back to its session.
    Reopen,
    /// A worker says goodbye.
    Goodbye,
    /// A turn.
    Turn,
    /// Two turns on one thread, of which the second waits.
    TwoTurns,
    /// A turn with a call that may be repeated.
    SafeCall,
    /// A turn with a call that may not.
    UnsafeCall,
    /// A run of another process is canceled.
    Cancel,
    /// The process is asked to end while it drives a run.
    Drain,
    /// The stream of a worker elsewhere breaks.
    BrokenStream,
    /// A worker elsewhere sends no heartbeat.
    SilentWorker,
    /// As that, in the middle of a call that may not be repeated: its run waits for a person.
    Pause,
}

impl Drive {
    /// Settings of the process.
    pub fn settings(self) -> Vec<(&'static str, &'static str)> {
        let api = ("RUNMESH_RUN_ORCHESTRATOR__ROLE", "api");
        // It looks far more often than the one that lives, and so is the one that finds what is due.
        let reaper = ("RUNMESH_RUN_ORCHESTRATOR__LEASES__REAPER_MS", "20");
        match self {
            Self::NewOrg => vec![("RUNMESH_RUN_ORCHESTRATOR__ORGS", "dev,acme,founded")],
            Self::Reopen | Self::Goodbye | Self::Cancel => vec![api],
            Self::BrokenStream | Self::SilentWorker | Self::Pause => vec![api, reaper],
            Self::Start | Self::Turn | Self::TwoTurns | Self::SafeCall | Self::UnsafeCall | Self::Drain => Vec::new(),
        }
    }

    /// Whether it is about sessions that are over: those of earlier deaths would be taken for this one's.
    pub const fn wants_no_other_sessions(self) -> bool {
        matches!(self, Self::BrokenStream | Self::SilentWorker | Self::Pause)
    }

    /// One go, which may miss: the other process may be faster. Gives the runs it made.
    pub async fn go(self, world: &mut World, case: Case) -> Vec<Sent> {
        match self {
            Self::Start | Self::NewOrg => Vec::new(),
            Self::Reopen => reopen(world).await,
            Self::Goodbye => goodbye(world).await,
            Self::Turn => vec![world.send("default", "many:3").await],
            Self::TwoTurns => two_turns(world).await,
            Self::SafeCall => vec![world.send("safe", CALL).await.expecting(safe_call())],
            Self::UnsafeCall => unsafe_call(world, case).await,
            Self::Cancel => cancel(world).await,
            Self::Drain => drain(world).await,
            Self::BrokenStream => broken_stream(world).await,
            Self::SilentWorker => silent_worker(world).await,
            Self::Pause => pause(world).await,
        }
    }
}

/// A message whose answer calls a tool.
const CALL: &str = r#"tool:pay{"amount":7}"#;

async fn reopen(world: &mut World) -> Vec<Sent> {
    let session = Session::behind(&world.mesh, SURVIVOR, credential("external")).await.expect("a welcome");
    // It ends with the process that it comes to.
    drop(Session::reopen_behind(&world.mesh, VICTIM, credential("external"), &session.id).await);
    Vec::new()
}

async fn goodbye(world: &mut World) -> Vec<Sent> {
    if let Ok(mut session) = Session::behind(&world.mesh, VICTIM, credential("external")).await {
        session.close();
        world.wait_for_death().await;
    }
    Vec::new()
}

async fn two_turns(world: &mut World) -> Vec<Sent> {
    let first = world.send("default", "many:3").await;
    let second = world.send_on(first.run.thread, "many:4").await;
    vec![first, second]
}

/// Made again as often as it takes, always under one key.
fn safe_call() -> Expect {
    Expect { state: StateName::Completed, asks: false, effects: Some((1, 2)) }
}

async fn unsafe_call(world: &mut World, case: Case) -> Vec<Sent> {
    let sent = world.send("unsafe", CALL).await;
    world.wait_for_death_or_end(&sent).await;
    let made = Expect { state: StateName::Completed, asks: false, effects: Some((1, 1)) };
    if world.victim_lives() {
        return vec![sent.expecting(made)];
    }
    let is_open = |effects| Expect { state: StateName::Canceled, asks: true, effects: Some((effects, effects)) };
    vec![sent.expecting(match (case.time, case.point) {
        // Begun, as the journal says, and nobody saw it end.
        (2, point) if point != BEFORE => is_open(0),
        (3, BEFORE) => is_open(1),
        _ => made,
    })]
}

async fn cancel(world: &mut World) -> Vec<Sent> {
    let sent = world.send_to(SURVIVOR, "default", "slow:200x100").await;
    drop(world.mesh.watch(0, &sent.run).await);
    let run = sent.run.id.to_string();
    let answer = world.call("CancelRun", json!({"run_id": run})).await;
    assert_eq!(answer["run"]["run_id"], json!(run), "{answer}");
    vec![sent.expecting(Expect { state: StateName::Canceled, asks: false, effects: None })]
}

async fn drain(world: &mut World) -> Vec<Sent> {
    let sent = world.send("default", "slow:200x50").await;
    if world.mesh.owner_of(&sent.run).await == VICTIM {
        drop(world.mesh.watch(0, &sent.run).await);
        world.mesh.ask_to_end(VICTIM);
        world.wait_for_death().await;
    }
    // It is long, so that the drain finds it under way.
    world.mesh.client(0).cancel_run(sent.run.id).await.expect("canceled");
    vec![sent.expecting(Expect { state: StateName::Canceled, asks: false, effects: None })]
}

/// A run that is assigned to a worker elsewhere, whose stream is the victim's. What was made when it went elsewhere: its message
/// was faster than the worker's credit.
async fn assigned(world: &mut World, agent: &str) -> Result<(Session, Sent, Api), Vec<Sent>> {
    let session = Session::behind(&world.mesh, VICTIM, credential("external")).await;
    let mut session = session.map_err(|_| Vec::new())?;
    let sent = world.send(agent, "many:3").await;
    let client = world.mesh.client(0);
    let assignment = tokio::select! {
        assignment = session.assigned() => assignment,
        () = until("the run is assigned, or over", DEADLINE, || rests(&client, sent.run.id)) => return Err(vec![sent]),
    };
    assert_eq!(assignment.lease.as_ref().map(|lease| lease.run_id.clone()), Some(sent.run.id.to_string()));
    let api = Api::of(&world.mesh).with_token(&assignment.run_token);
    Ok((session, sent, api))
}

async fn broken_stream(world: &mut World) -> Vec<Sent> {
    let (mut session, sent, _) = match assigned(world, "default").await {
        Ok(assigned) => assigned,
        Err(made) => return made,
    };
    session.say(None).await;
    world.wait_for_death_or_end(&sent).await;
    vec![sent]
}

async fn silent_worker(world: &mut World) -> Vec<Sent> {
    let (session, sent, _) = match assigned(world, "default").await {
        Ok(assigned) => assigned,
        Err(made) => return made,
    };
    world.wait_for_death_or_end(&sent).await;
    drop(session);
    vec![sent]
}

async fn pause(world: &mut World) -> Vec<Sent> {
    let (session, sent, holder) = match assigned(world, "unsafe").await {
        Ok(assigned) => assigned,
        Err(made) => return made,
    };
    let lease = holder_lease(&sent);
    let call = json!({"tool_call": {"call_id": "c", "name": "pay", "arguments_json": "{}"}});
    let result = json!({"parts": [call], "model": "mock", "finish_reason": "tool_calls"});
    for entry in [
        json!({"model_step": {"step_index": 1, "result": result}}),
        json!({"call_dispatched": {"step_index": 1, "call_index": 0}}),
    ] {
        holder.ok("RecordStep", json!({"lease": lease, "entries": [entry]})).await;
    }
    world.wait_for_death_or_end(&sent).await;
    drop(session);
    vec![sent.expecting(Expect { state: StateName::Canceled, asks: true, effects: Some((0, 0)) })]
}

/// The lease of the first attempt.
fn holder_lease(sent: &Sent) -> serde_json::Value {
    json!({"run_id": sent.run.id.to_string(), "fence": 1})
}

impl World {
    /// Waits until the victim is dead.
    pub async fn wait_for_death(&mut self) {
        until("the process dies", DEADLINE, || std::future::ready((!self.victim_lives()).then_some(()))).await;
    }

    /// Waits until the victim is dead, or the run is over or waits.
    pub async fn wait_for_death_or_end(&mut self, sent: &Sent) {
        let client = self.mesh.client(0);
        let mesh = std::cell::RefCell::new(&mut self.mesh);
        until("the process dies, or the run is over", DEADLINE, || {
            let lives = mesh.borrow_mut().is_running(VICTIM);
            let (client, run) = (client.clone(), sent.run.id);
            async move { if lives { rests(&client, run).await } else { Some(()) } }
        })
        .await;
    }

    /// Whether the process that is to die still lives.
    pub fn victim_lives(&mut self) -> bool {
        self.mesh.is_running(VICTIM)
    }

    /// Sends a message to the victim on a new thread.
    pub async fn send(&mut self, agent: &str, text: &str) -> Sent {
        self.send_to(VICTIM, agent, text).await
    }

    async fn send_to(&mut self, service: Service, agent: &str, text: &str) -> Sent {
        let thread = self.mesh.client(0).create_thread(agent, "").await.expect("a thread");
        self.say(service, thread, text).await
    }
}
