//! Processes that die at every place where dying could hurt: on both sides of each COMMIT, and between the steps of what follows
//! one. Whatever the place, the others go on, and no invariant is broken.

mod check;
mod drive;
pub mod table;
mod world;

use crate::idempotency::{Things, calls, keyed};
use crate::rpc::Api;
use serde_json::{Value, json};
use table::{AFTER, BEFORE, MUTATIONS};
use world::{VICTIM, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_anywhere_in_a_run_breaks_no_invariant() {
    let mut world = World::start(|mesh| mesh).await;
    for case in table::cases() {
        println!("{case:?}");
        let made = world.die(case).await;
        world.check(&made).await;
    }
    world.check_whole().await;
}

/// R5: the answer that a crash took away is had by calling again, and the effect is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutating_call_whose_process_dies_happens_once() {
    let mut world = World::start(|mesh| mesh.without_workers()).await;
    for (point, names, doomed) in [(BEFORE, ["b-1", "b-2"], "b-doomed"), (AFTER, ["a-1", "a-2"], "a-doomed")] {
        let things = Things::of(&world.mesh, names).await;
        for (method, body, _) in calls(&things) {
            die_in_call(&mut world, method, "dev", body, point).await;
        }
        Api::of(&world.mesh).ok("CreateOrg", json!({"idempotency_key": doomed, "name": doomed})).await;
        die_in_call(&mut world, "DeleteOrg", doomed, json!({}), point).await;
    }
}

/// Calls a process that dies of it, and then another one.
async fn die_in_call(world: &mut World, method: &str, org: &str, body: Value, point: &str) {
    let (_, command) = MUTATIONS.iter().find(|(known, _)| *known == method).unwrap_or_else(|| panic!("{method} has no row"));
    let body = keyed(&body, point);
    world.arm(command, point, 1, &[]).await;
    let lost = world.person_at(VICTIM, method, org).call(method, body.clone()).await;
    assert!(lost.is_err(), "{method}: the process died before it answered: {lost:?}");
    world.assert_died(command, point).await;
    let api = Api::of(&world.mesh).in_org(org);
    let mut first = api.ok(method, body.clone()).await;
    assert_eq!(first["replayed"], json!(point == AFTER), "{method}: done before the crash, or not at all: {first}");
    first["replayed"] = json!(true);
    assert_eq!(api.ok(method, body).await, first, "{method}: one answer");
}
