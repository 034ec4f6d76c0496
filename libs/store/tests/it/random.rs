//! Many hands at once on a few threads, with nothing agreed between them: afterwards every invariant holds.

use crate::fixture::{QUEUES, World, claim_for, dispatched, done, last, lease, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::invariants;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::{Outcome, StateName};
use runmesh_store::PageRequest;
use runmesh_store::actions;
use runmesh_store::runs::{self, ListRuns};
use std::sync::{Arc, Mutex};

/// A small generator, so that a failure can be played again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Everything that any hand has ever held: lost leases are used too.
type Leases = Arc<Mutex<Vec<LeaseClaim>>>;

async fn hand(world: World, threads: Vec<ThreadId>, leases: Leases, seed: u64) {
    let mut dice = Dice(seed);
    let mut session = world.session().await;
    let mut runs_seen: Vec<RunId> = Vec::new();
    for _ in 0..60 {
        let pick = |dice: &mut Dice| {
            let leases = leases.lock().unwrap();
            (!leases.is_empty()).then(|| leases[usize::try_from(dice.roll(leases.len() as u64)).unwrap()])
        };
        let thread = threads[usize::try_from(dice.roll(threads.len() as u64)).unwrap()];
        match dice.roll(12) {
            0..=2 => runs_seen.push(world.send(thread, "x").await.run),
            3..=5 => {
                let wish = claim_for(session, 3, QUEUES);
                let claimed = world.try_claim(wish).await.unwrap_or_default();
                leases.lock().unwrap().extend(claimed.iter().map(|one| lease(&one.row)));
            }
            6 => {
                let Some(lease) = pick(&mut dice) else { continue };
                let entries = vec![model_step(1, "s", &["read", "write"]), dispatched(1, 0), done(1, 0, "r"), dispatched(1, 1)];
                let some = usize::try_from(dice.roll(4)).unwrap() + 1;
                let _ = world.record(lease, entries.into_iter().take(some).collect()).await;
            }
            7 | 8 => {
                let Some(lease) = pick(&mut dice) else { continue };
                let step = world.get(lease.run).await.last_step + 1;
                let _ = world.finish(lease, Outcome::Completed, Some(last(step, "done"))).await;
            }
            9 => {
                let Some(lease) = pick(&mut dice) else { continue };
                let _ = world.release(lease).await;
            }
            10 => {
                let Some(run) = runs_seen.last() else { continue };
                world.cancel(*run).await.unwrap();
            }
            _ => {
                world.expire(session).await;
                world.reap().await;
                session = world.session().await;
            }
        }
    }
    world.expire(session).await;
}

/// Ends whatever is left, as sweepers and a last worker would.
async fn wind_up(world: &World) {
    for _ in 0..1_000 {
        world.reap().await;
        server::execute(&world.url, "UPDATE pending_actions SET expires_at = created_at WHERE state = 'pending'").await;
        world.system(|tx| actions::expire_due(tx, 1_000).boxed()).await.unwrap();
        let session = world.session().await;
        let claimed = world.claim(session, 1_000).await;
        let none = claimed.is_empty();
        for one in claimed {
            let step = one.row.last_step + 1;
            world.finish(lease(&one.row), Outcome::Completed, Some(last(step, "end"))).await.unwrap();
        }
        let open = "SELECT count(*) FROM runs WHERE ended_at IS NULL";
        if none && server::value::<i64>(&world.url, open).await == 0 {
            return;
        }
    }
    panic!("some run never ends");
}

async fn check(world: &World) {
    let org = world.org;
    let swept = world.system(|tx| runs::promote_free_threads(tx, runs::FreeThreadsFrom::default(), 1_000).boxed()).await.unwrap();
    assert_eq!(swept.0, vec![], "an end promoted nobody");
    let wish = ListRuns { page: PageRequest { page_size: 1_000, ..PageRequest::first() }, ..ListRuns::default() };
    let rows = world.org_tx(move |tx| {
        let wish = wish.clone();
        async move { runs::list(tx, org, &wish).await }.boxed()
    });
    let rows = rows.await.unwrap().items;
    assert!(rows.len() > 50);
    let mut turns: std::collections::BTreeMap<ThreadId, Vec<_>> = std::collections::BTreeMap::new();
    for row in rows {
        let run = row.run.id;
        let history = world.org_tx(move |tx| runs::history(tx, org, run).boxed()).await.unwrap();
        assert_eq!(invariants::check_transitions(&history), Ok(()), "{history:?}");
        let end = history.last().unwrap();
        assert!(end.to.is_terminal() && end.version == row.run.version && end.fence == row.run.fence, "R2: {row:?}");
        let held = history.iter().filter(|one| one.to.holds_thread()).map(|one| one.at).min();
        if let (Some(from), Some(to)) = (held, row.ended_at) {
            turns.entry(row.run.thread).or_default().push((row.run.turn_number, from, to));
        }
        assert_ne!(row.run.state.name(), StateName::Superseded);
    }
    for (thread, intervals) in turns {
        assert_eq!(invariants::check_turns(&intervals), Ok(()), "{thread}");
    }
    for broken in [
        "SELECT count(*) FROM calls WHERE state IN ('reserved', 'dispatched')",
        "SELECT count(*) FROM pending_actions WHERE state = 'pending'",
        "SELECT count(*) FROM runs r WHERE (SELECT count(*) FROM run_transitions t WHERE t.run_id = r.id) <> r.version",
        "SELECT count(*) FROM calls WHERE state = 'done' AND dispatched_at IS NULL",
    ] {
        assert_eq!(server::value::<i64>(&world.url, broken).await, 0, "{broken}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_invariant_holds_after_any_history() {
    for round in 0..3_u64 {
        let world = World::new().await;
        let mut threads = Vec::new();
        for _ in 0..4 {
            threads.push(world.thread().await);
        }
        let leases = Leases::default();
        let hands = (0..6).map(|n| tokio::spawn(hand(world.clone(), threads.clone(), leases.clone(), round * 100 + n)));
        for hand in futures::future::join_all(hands).await {
            hand.unwrap();
        }
        wind_up(&world).await;
        check(&world).await;
    }
}
