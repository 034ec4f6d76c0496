//! Workers hear of a cancel at once, and only of one that was committed.

use crate::harness::mesh;
use crate::sql;
use runmesh_domain::run::StateName;
use std::time::{Duration, Instant};

/// Fails every transaction that asks for the end of a run, when it commits.
const REFUSE_CANCELS: &str = "
    CREATE FUNCTION refuse_cancels() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN IF NEW.cancel IS NOT NULL THEN RAISE EXCEPTION 'no cancels today'; END IF; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER refuse_cancels AFTER UPDATE ON runs DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION refuse_cancels()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_was_not_committed_ends_nothing() {
    let mesh = mesh().start().await;
    let run = mesh.send("slow:40x100").await;
    let viewer = mesh.watch(0, &run).await;
    sql::query(&mesh, REFUSE_CANCELS).await;
    mesh.client(0).cancel_run(run.id).await.expect_err("not committed");
    let seen = viewer.to_end().await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.view().text().matches("chunk-").count(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_thread_ends_its_run_before_the_next_heartbeat() {
    let lease = Duration::from_secs(120);
    let mesh = mesh().lease_ms(120_000).start().await;
    let run = mesh.send("slow:300x100").await;
    let viewer = mesh.watch(0, &run).await;
    let deleted_at = Instant::now();
    mesh.client(0).delete_thread(run.thread).await.expect("deleted");
    viewer.to_end().await.assert_exact().assert_state(StateName::Canceled);
    assert!(deleted_at.elapsed() < lease / 12, "{:?}", deleted_at.elapsed());
}
