//! A starter that is killed takes its engines with it. The starter is this test binary, run again for [`hold`] alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use runmesh_engines::{DataDir, EngineOptions, Engines, Silent};
use rustix::process::getpgid;

use crate::{
    support::{eventually, is_alive, pid, scratch},
    talk::{port_of, query},
};

const REPORT: &str = "RUNMESH_ENGINES_TEST_REPORT";
const DATA: &str = "RUNMESH_ENGINES_TEST_DATA";

/// The starter's part: starts engines, writes its report, and waits to be killed. A test only because it lives in a test binary;
/// without the environment of [`Starter`] it does nothing.
#[tokio::test]
async fn hold() {
    let Some(report) = env::var_os(REPORT).map(PathBuf::from) else {
        return;
    };
    let data = env::var_os(DATA).map_or(DataDir::Ephemeral, |path| DataDir::Persistent(path.into()));
    let engines = Engines::start(EngineOptions::new(data), &Silent).await.unwrap();
    let postgres = engines.postgres().unwrap().pid().await.unwrap();
    let nats = engines.nats().unwrap().pid().await.unwrap();
    let text = format!("{postgres} {nats} {}", engines.data_dir().display());
    fs::write(report.with_extension("part"), text).unwrap();
    fs::rename(report.with_extension("part"), &report).unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    engines.stop().await.unwrap();
}

/// A process that holds engines.
struct Starter {
    child: Child,
    engines: [u32; 2],
    data: PathBuf,
}

impl Starter {
    async fn start(scratch: &Path, data: Option<&Path>) -> Self {
        let report = scratch.join("report");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["starter::hold", "--exact"]).env(REPORT, &report).env_remove(DATA);
        command.envs(data.map(|data| (DATA, data)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the starter reports", || {
            assert_eq!(child.try_wait().unwrap(), None, "the starter ended");
            report.exists()
        })
        .await;
        let text = fs::read_to_string(&report).unwrap();
        let mut words = text.splitn(3, ' ');
        let mut next = || words.next().unwrap().to_owned();
        let engines = [next().parse().unwrap(), next().parse().unwrap()];
        Self { child, engines, data: next().into() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn engines_gone(&self) {
        eventually("the engines are gone", || !self.engines.into_iter().any(is_alive)).await;
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        // After a failed test; otherwise it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_starter_leaves_no_engine_and_no_ephemeral_folder() {
    let scratch = scratch();
    let mut starter = Starter::start(scratch.path(), None).await;
    assert!(starter.engines.into_iter().all(is_alive));
    assert!(starter.data.join("postgres").is_dir());
    for engine in starter.engines {
        assert_eq!(getpgid(Some(pid(engine))).unwrap(), pid(engine), "own process group: ctrl-c must not reach it");
    }
    starter.kill();
    starter.engines_gone().await;
    eventually("the folder is removed", || !starter.data.exists()).await;
}

#[tokio::test]
async fn the_next_start_after_a_kill_finds_the_data_free() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let mut starter = Starter::start(scratch.path(), Some(&data)).await;
    starter.kill();
    // At once: the keeper is still stopping the old engines.
    let engines = Engines::start(EngineOptions::new(DataDir::Persistent(data)), &Silent).await.unwrap();
    starter.engines_gone().await;
    assert_eq!(query(port_of(engines.postgres_url()), "select 1"), ["1"]);
    engines.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn orphans_without_a_keeper_are_stopped_by_the_next_start() {
    use crate::support::{kill, processes_of};

    let scratch = scratch();
    let data = scratch.path().join("data");
    let mut starter = Starter::start(scratch.path(), Some(&data)).await;
    let parent = format!("PPid:\t{}\n", starter.child.id());
    let keepers = processes_of("runmesh-keeper")
        .into_iter()
        .filter(|keeper| fs::read_to_string(format!("/proc/{keeper}/status")).is_ok_and(|status| status.contains(&parent)));
    let keepers: Vec<u32> = keepers.collect();
    assert_eq!(keepers.len(), 1, "one keeper for both engines");
    kill(keepers[0]);
    starter.kill();
    assert!(starter.engines.into_iter().all(is_alive), "without a keeper the engines live on");

    let engines = Engines::start(EngineOptions::new(DataDir::Persistent(data)), &Silent).await.unwrap();
    starter.engines_gone().await;
    assert_eq!(query(port_of(engines.postgres_url()), "select 1"), ["1"]);
    engines.stop().await.unwrap();
}
