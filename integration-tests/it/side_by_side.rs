//! Two releases on one database: a roll-out under load, and the way back. The previous release's binary is built from its commit.

mod previous;

use crate::sql;
use crate::tools::clock;
use runmesh_client::{SendOptions, Start};
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use runmesh_testkit::{Service, Viewer, until};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Runs that are under way while processes are replaced.
const LOAD: usize = 12;
/// How long a process may take to drain.
const DRAIN: Duration = Duration::from_secs(30);

/// Sends messages that take a while, some with a tool, on threads of their own, and a second one on each thread: one has to be
/// promoted by whatever version ends the first.
async fn load(mesh: &Mesh) -> Vec<Run> {
    let client = mesh.client(0);
    let mut runs = Vec::new();
    for n in 0..LOAD {
        let thread = client.create_thread("tooled", "").await.expect("a thread");
        let text = if n % 2 == 0 { "slow:20x100" } else { "tool:current_time{} slow:15x100" };
        for text in [text, "many:3"] {
            let sent = client.send(thread, text, SendOptions::default()).await.expect("accepted");
            runs.push(Run { thread, id: sent.run, cursor: sent.cursor });
        }
    }
    runs
}

/// Every run has one end, which every viewer sees without a gap or a repeat.
async fn all_complete(mesh: &Mesh, runs: &[Run], when: &str) {
    for (n, run) in runs.iter().enumerate() {
        let ended = mesh.ended(run).await;
        assert_eq!(ended.reason, "", "{when}: {ended:?}");
        let viewer = Viewer::new(&mesh.client(n % 2), run, Start::Cursor(run.cursor.clone()));
        viewer.of_any_version().to_end().await.assert_exact().assert_state(StateName::Completed);
    }
}

/// Waits until a worker of each orchestrator, and so of each version, has driven a run.
async fn both_drive(mesh: &Mesh) {
    let mut drivers = BTreeSet::new();
    for _ in 0..40 {
        let run = mesh.send("slow:4x50").await;
        drivers.insert(mesh.owner_of(&run).await);
        mesh.ended(&run).await;
        if drivers.len() == 2 {
            return;
        }
    }
    panic!("one version drove every run: {drivers:?}");
}

/// Replaces one half of the mesh and then the other, each while runs are under way: one process is killed, the others drain.
async fn replace_all(mesh: &mut Mesh, binary: &Path, when: &str) {
    mesh.use_binary(binary);
    for half in 0..2 {
        let runs = load(mesh).await;
        for service in [Service::Orchestrator(half), Service::Relay(half), Service::Gateway(half)] {
            if matches!(service, Service::Orchestrator(0)) {
                mesh.kill(service);
            } else {
                assert!(mesh.terminate(service, DRAIN).await.success(), "{service:?} drains");
            }
            mesh.start_process(service);
        }
        mesh.wait_ready().await;
        if half == 0 {
            both_drive(mesh).await;
        }
        all_complete(mesh, &runs, when).await;
    }
    for service in [Service::Approval, Service::Summary] {
        mesh.terminate(service, DRAIN).await;
        mesh.start_process(service);
    }
    mesh.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_out_and_the_way_back_lose_nothing() {
    let Some(old) = previous::binary().await else { return };
    let new = Path::new(env!("CARGO_BIN_EXE_runmesh"));
    let mut mesh = Mesh::builder(&old.to_string_lossy()).start().await;
    let spec = AgentSpec { tools: vec![clock()], ..AgentSpec::default() };
    mesh.client(0).apply_agent("tooled", spec).await.expect("an agent");
    let before = load(&mesh).await;

    mesh.use_binary(new);
    mesh.migrate();
    all_complete(&mesh, &before, "older binaries on the newer schema").await;
    replace_all(&mut mesh, new, "roll-out").await;
    replace_all(&mut mesh, &old, "way back").await;

    let unpublished = "SELECT count(*) FROM run_transitions WHERE NOT (logged AND fed)";
    until("every transition is in its log and on the feed", DRAIN, || {
        let left = sql::query(&mesh, unpublished);
        async move { (left.await == ["0"]).then_some(()) }
    })
    .await;
}
