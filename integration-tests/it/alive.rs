//! Who lives and who does not, when Postgres or NATS would have one believe otherwise.

use crate::harness::mesh;
use crate::sql;
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Kind, Mesh};
use runmesh_testkit::until;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Whether two sessions hold the lock that they tell of, under their second stream or a later one.
const HELD_ANEW: &str = "
    SELECT count(*) = 2 FROM worker_sessions s JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted
      AND ((l.classid::int8 << 32) | l.objid::int8) = s.alive_key WHERE s.stream_number > 1";
const TERMINATE: &str = "
    SELECT pg_terminate_backend(l.pid) FROM worker_sessions s JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted
      AND ((l.classid::int8 << 32) | l.objid::int8) = s.alive_key";

async fn until_true(mesh: &Mesh, what: &str, text: &str) {
    until(what, DEADLINE, || async { (sql::query(mesh, text).await == ["t"]).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lock_costs_a_worker_that_lives_nothing() {
    let mesh = mesh().start().await;
    // Locks say nothing within a lease of Postgres's own start.
    until_true(&mesh, "postgres is old enough", "SELECT pg_postmaster_start_time() < clock_timestamp() - interval '4 s'").await;
    let run = mesh.send("slow:50x100").await;
    let viewer = mesh.watch(0, &run).await;
    assert_eq!(sql::query(&mesh, TERMINATE).await, ["t", "t"], "the lock of either worker");
    until_true(&mesh, "both hold their locks again", HELD_ANEW).await;
    let seen = viewer.to_end().await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.attempts(), [1], "the run was not taken back");
    assert_eq!(seen.count(|event| matches!(event, Event::StepRetracted { .. })), 0);
    assert_eq!(mesh.model().calls(), 1, "the model was asked once");
    assert_eq!(seen.view().text().matches("chunk-").count(), 50);
}

/// A process that stands still as long as this is kept.
struct Frozen(Pid);

impl Frozen {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::STOP).expect("SIGSTOP");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("SIGCONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_run_comes_back_while_nats_hangs() {
    let mut mesh = mesh().own_engines().start().await;
    let run = mesh.send("slow:100x100").await;
    drop(mesh.watch(0, &run).await);
    let owner = mesh.owner_of(&run).await;
    let frozen = Frozen::new(mesh.engines().nats().expect("an own server").pid().await.expect("it runs"));
    // More than can be tried one after the other before anybody looks for the dead.
    for n in 0..12 {
        mesh.send(&format!("many:1 #{n}")).await;
    }
    let left_over = "SELECT count(*) >= 12 FROM run_transitions WHERE NOT logged AND at < clock_timestamp() - interval '2 s'";
    until_true(&mesh, "the replicas try to publish", left_over).await;
    mesh.kill(owner);
    let fence = format!("SELECT fence > 1 FROM runs WHERE id = '{}'", run.id.uuid());
    let taken_back = until("the run is taken back", Duration::from_secs(12), || async {
        (sql::query(&mesh, &fence).await == ["t"]).then_some(())
    });
    taken_back.await;
    drop(frozen);
    let seen = mesh.attach(0, &run).await;
    seen.assert_state(StateName::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_run_that_never_began_is_published_by_who_ended_it() {
    // Nobody sweeps up for as long as this lasts.
    let builder = mesh().gateways(1).orchestrators(1).relays(1).without_workers();
    let mesh = builder.set(Kind::Orchestrator, "LEASES__REAPER_MS", "3600000").start().await;
    let ready = mesh.send("x").await;
    let queued = mesh.send_on(ready.thread, "y").await;
    for run in [queued, ready] {
        mesh.client(0).cancel_run(run.id).await.expect("canceled");
        let logged = format!("SELECT bool_and(logged) FROM run_transitions WHERE run_id = '{}'", run.id.uuid());
        until_true(&mesh, "its log has its end", &logged).await;
        mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Canceled);
    }
}
