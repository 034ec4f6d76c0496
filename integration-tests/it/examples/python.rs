//! examples/python: the chat, and an agent of its own that speaks the worker protocol.

use super::program::{self, Ended};
use super::{assert_chatted, authority, folder};
use crate::harness::small;
use runmesh_client::SendOptions;
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Kind, Mesh, Run};
use runmesh_testkit::until;
use runmesh_wire::pb::run::step::CallState;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// The key that the testkit gives every mesh.
const MESH_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// How long a test waits for something of the mesh.
const SOON: Duration = Duration::from_secs(60);

/// What requirements.txt names, installed for this Python.
async fn packages() -> PathBuf {
    let requirements = folder("examples/python").join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("requirements.txt");
    let mut version = program::command("python3");
    version.args(["-c", "import sys; print(sys.version)"]);
    let version = program::run(version, program::USE).await;
    version.assert_code(0);
    let name = format!("python-{}", program::fingerprint(&[&wanted, &version.out]));
    program::cached(&name, async |fresh: &Path| {
        let mut pip = program::command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(fresh);
        pip.arg("--requirement").arg(&requirements);
        program::run(pip, program::INSTALL).await.assert_code(0);
    })
    .await
}

/// A program of the example.
async fn python(script: &str) -> Command {
    let mut command = program::command("python3");
    command.arg(script).current_dir(folder("examples/python"));
    command.env("PYTHONPATH", packages().await).env("PYTHONDONTWRITEBYTECODE", "1").env("XDG_CACHE_HOME", program::cache());
    command
}

async fn chat(mesh: &Mesh, arguments: &[&str]) -> Ended {
    let mut command = python("chat.py").await;
    command.args(["--address", &authority(mesh)]).args(arguments);
    program::run(command, program::USE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_chats_and_comes_back_with_its_cursor() {
    let mesh = small().start().await;
    assert_chatted(&chat(&mesh, &["--break-after", "3", "slow:20x20"]).await, 20);
    let refused = chat(&mesh, &["--agent", "nobody", "hello"]).await;
    assert!(refused.assert_code(1).err.starts_with("NOT_FOUND: "), "{}", refused.err);
}

/// An agent that may look at the clock, its only worker to be a Python one: the built-in worker has its hands full.
struct Clock {
    mesh: Mesh,
    agent: String,
    token: String,
    holder: Run,
}

impl Clock {
    async fn start() -> Self {
        let mesh = small().set(Kind::Orchestrator, "WORKER__CAPACITY", "1").start().await;
        let holder = mesh.send("slow:6000x50").await;
        mesh.owner_of(&holder).await;
        let kind = ToolKind::Builtin;
        let tool = Tool { name: "current_time".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
        let spec = AgentSpec { tools: vec![tool], ..AgentSpec::default() };
        let agent = mesh.client(0).create_agent("clock", spec).await.expect("an agent").agent_id;
        let token = token(&agent).await;
        Self { mesh, agent, token, holder }
    }

    async fn worker(&self, arguments: &[&str]) -> Command {
        let mut command = python("worker.py").await;
        command.args(["--address", &authority(&self.mesh), "--agent", &self.agent]).args(arguments);
        command.env("RUNMESH_WORKER_TOKEN", &self.token);
        command
    }

    async fn send(&self, text: &str) -> Run {
        let client = self.mesh.client(0);
        let thread = client.create_thread("clock", "").await.expect("a thread");
        let sent = client.send(thread, text, SendOptions::default()).await.expect("accepted");
        Run { thread, id: sent.run, cursor: sent.cursor }
    }

    /// Waits until the run's call is done and journaled.
    async fn looked_at_the_clock(&self, run: &Run) {
        until("the call is journaled", SOON, || async {
            let steps = self.mesh.history(run).await.steps;
            let done = steps.first().is_some_and(|step| step.calls.iter().all(|call| call.state() == CallState::Done));
            done.then_some(())
        })
        .await;
    }

    /// The whole answer once, the call once, and a journal that says the same.
    async fn assert_answered(&self, run: &Run, text: &str) {
        let seen = self.mesh.attach(0, run).await;
        seen.assert_exact().assert_state(StateName::Completed);
        let said = seen.view().text();
        assert!(said.starts_with("I look at the clock. ") && said.contains(&format!("You said \"{text}\". It is 20")), "{said}");
        assert_eq!(said.matches("You said").count(), 1, "{said}");
        assert_eq!(seen.count(|event| matches!(event, Event::ToolCallFinished { is_error: false, .. })), 1);
        let steps = self.mesh.history(run).await.steps;
        assert_eq!((steps.len(), steps[0].calls.len(), steps[1].model.as_str()), (2, 1, "python-example"), "{steps:?}");
        let holder = self.mesh.run(&self.holder).await;
        assert!(holder.end_time.is_none(), "the built-in worker had its hands full all the time: {holder:?}");
    }
}

/// A worker's token, made as a reader of the README makes it.
async fn token(agent: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("mesh.key");
    std::fs::write(&key, MESH_KEY).expect("the key file");
    let mut command = python("worker_token.py").await;
    command.arg("--key-file").arg(&key).args(["--agent", agent]);
    let made = program::run(command, program::USE).await;
    made.assert_code(0).out.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_worker_drives_a_run() {
    let clock = Clock::start().await;
    let worker = program::start(clock.worker(&["--runs", "1"]).await);
    let run = clock.send("hello there").await;
    clock.assert_answered(&run, "hello there").await;
    let ended = program::ended(worker, "worker.py", program::USE).await;
    assert!(ended.assert_code(0).out.contains(&format!("{} fence=1 completed", run.id)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_worker_asks_for_a_context_that_did_not_come_along() {
    let clock = Clock::start().await;
    let worker = program::start(clock.worker(&["--runs", "3"]).await);
    let first = clock.send(&"x".repeat(140 << 10)).await;
    clock.assert_answered(&first, &"x".repeat(140 << 10)).await;
    let second = clock.mesh.send_on(first.thread, &"y".repeat(140 << 10)).await;
    clock.mesh.ended(&second).await;
    let third = clock.mesh.send_on(first.thread, "and now").await;
    clock.assert_answered(&third, "and now").await;
    program::ended(worker, "worker.py", program::USE).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_worker_goes_on_where_a_killed_one_stopped() {
    let clock = Clock::start().await;
    let text = vec!["word"; 400].join(" ");
    let mut first = program::start(clock.worker(&[]).await);
    let run = clock.send(&text).await;
    clock.looked_at_the_clock(&run).await;
    first.kill().await.expect("SIGKILL");

    let second = program::start(clock.worker(&["--runs", "1"]).await);
    clock.assert_answered(&run, &text).await;
    let ended = program::ended(second, "worker.py", program::USE).await;
    assert!(ended.assert_code(0).out.contains(" completed"), "{ended:?}");
    assert!(clock.mesh.run(&run).await.fence > 1, "a second attempt was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_worker_ends_a_canceled_run_and_keeps_what_was_said() {
    let clock = Clock::start().await;
    let worker = program::start(clock.worker(&["--runs", "1"]).await);
    let run = clock.send(&vec!["word"; 2_000].join(" ")).await;
    clock.looked_at_the_clock(&run).await;
    clock.mesh.client(0).cancel_run(run.id).await.expect("acknowledged");
    let seen = clock.mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Canceled);
    let ended = program::ended(worker, "worker.py", program::USE).await;
    assert!(ended.assert_code(0).out.contains(&format!("{} fence=1 canceled", run.id)), "{ended:?}");
}
