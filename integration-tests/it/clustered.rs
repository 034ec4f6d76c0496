//! NATS as a cluster of three, each stream with a copy on every server: who leads the run log is killed while it is written
//! and read, and nobody notices more than a pause.

use crate::harness::mesh;
use futures::future::join_all;
use runmesh_bus::{Bus, BusConfig, StreamReport};
use runmesh_domain::run::StateName;
use runmesh_testkit::{Mesh, Service, Viewer, until};
use std::time::Duration;

/// An election takes four to nine seconds, and this machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn bus(mesh: &Mesh) -> Bus {
    Bus::connect(BusConfig::new(mesh.nats_cluster().url(), "test")).await.expect("a bus")
}

/// The run log, once a server leads it and `is_so`.
async fn log(bus: &Bus, what: &str, is_so: impl Fn(&StreamReport) -> bool) -> StreamReport {
    let is_so = &is_so;
    until(what, PATIENCE, || async move {
        let streams = bus.streams().await.ok()?;
        streams.into_iter().find(|stream| stream.name == "RM_LOG").filter(|log| !log.leader.is_empty() && is_so(log))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_the_log_is_killed_under_writers_and_viewers() {
    let mesh = mesh().nats_cluster().start().await;
    let bus = bus(&mesh).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(mesh.send("slow:600x50").await);
    }
    let viewers = runs.iter().flat_map(|run| (0..3).map(move |n| (n % 2, run)));
    let viewers = join_all(viewers.map(|(gateway, run)| mesh.watch(gateway, run))).await;
    let before = log(&bus, "every server has a copy of the log", |log| log.replicas == 3 && log.replicas_current == 3).await;
    let leader = mesh.nats_cluster().named(&before.leader).expect("one of the three");
    leader.kill().await.expect("it is killed");
    let after = log(&bus, "another server leads the log", |log| log.leader != before.leader).await;
    assert!(mesh.nats_cluster().named(&after.leader).is_some(), "{after:?}");

    // Words of the very calls that were under way come after the election.
    let seen = join_all(viewers.into_iter().map(Viewer::to_end)).await;
    for seen in &seen {
        seen.assert_exact().assert_state(StateName::Completed);
        assert_eq!(seen.view().text().matches("chunk-").count(), 600);
        assert_eq!(seen.attempts(), [1], "the run itself was not disturbed");
    }
    leader.restart().await.expect("it starts again");
    log(&bus, "the killed server has everything again", |log| log.replicas_current == 3).await;
    for (n, run) in runs.iter().enumerate() {
        let late = mesh.attach(n % 2, run).await;
        late.assert_exact().assert_state(StateName::Completed);
        assert_eq!(late.view(), seen[n * 3].view());
    }
    let next = mesh.send("many:50").await;
    mesh.attach(0, &next).await.assert_exact().assert_state(StateName::Completed);
}

/// What an operator makes of the streams outlives a restart of the services, and `doctor` sees how they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_made_as_the_settings_say_and_stay_as_an_operator_wants_them() {
    let mut mesh = mesh().nats_cluster().gateways(1).orchestrators(1).relays(1).start().await;
    for stream in bus(&mesh).await.streams().await.expect("the streams") {
        assert_eq!((stream.replicas, stream.differences.len()), (3, 0), "{stream:?}");
    }
    let edits = serde_json::from_value(serde_json::json!({"log_bytes_max": "3GiB", "log_age": "14d"})).expect("choices");
    let operator = Bus::connect(BusConfig::new(mesh.nats_cluster().url(), "operator").choosing(&edits)).await.expect("a bus");
    operator.ensure().await.expect("the operator's streams");

    for service in [Service::Relay(0), Service::Orchestrator(0)] {
        mesh.kill(service);
        mesh.revive(service);
    }
    mesh.wait_ready().await;
    let info = mesh.client(0).get_org_and_streams().await.expect("the org").mesh.expect("the mesh");
    assert_eq!(info.streams_problem, "");
    let shown: Vec<_> = info.streams.iter().map(|stream| (&*stream.name, stream.replicas, stream.bytes_max)).collect();
    assert_eq!(shown, [("RM_LOG", 3, Some(3 << 30)), ("RM_TRANSITIONS", 3, Some(256 << 20))]);
    let days = info.streams[0].age.expect("an age").seconds / 86_400;
    assert_eq!(days, 14);
}
