//! Transitions on their way out.

use crate::fixture::{QUEUES, World, lease};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::RunId;
use runmesh_domain::message::plain_text;
use runmesh_domain::transition::{Record, Transition};
use runmesh_store::outbox::{self, Slice};
use runmesh_store::runs;

async fn unfed(world: &World) -> Vec<Transition> {
    let rows = world.system(|tx| outbox::unfed(tx, Slice::whole(), 100).boxed()).await.unwrap().items;
    rows.into_iter().map(|(_, transition)| transition).collect()
}

/// As the feed gets it.
fn without_message(mut transition: Transition) -> Transition {
    if let Record::Finished(finished) = &mut transition.record {
        finished.message = None;
    }
    transition
}

async fn unlogged(world: &World) -> Vec<RunId> {
    let rows = world.system(|tx| outbox::unlogged(tx, 0, Slice::whole(), 100).boxed()).await.unwrap().items;
    rows.into_iter().map(|(ids, _)| ids.id).collect()
}

#[tokio::test]
async fn what_was_committed_is_what_is_read_back() {
    let world = World::new().await;
    let thread = world.thread().await;
    let sent = world.send(thread, "x").await;
    let claimed = world.claim(world.session().await, 1).await;
    let (_, ended) = world.complete(lease(&claimed[0].row), "done").await;
    let told: Vec<_> = [&claimed[0].committed, &ended].into_iter().flatten().cloned().collect();
    let transitions: Vec<Transition> = told.iter().map(|one| one.transition.clone()).collect();
    let shown_on_the_feed: Vec<Transition> = transitions.iter().cloned().map(without_message).collect();
    assert_eq!(unfed(&world).await, shown_on_the_feed);
    let run = sent.run;
    let runs::LogRows { ids, transitions: rows, .. } =
        world.system(move |tx| runs::log_rows(tx, run, 1, false).boxed()).await.unwrap();
    assert_eq!(ids, told[0].ids);
    let unmarked: Vec<_> = transitions[1..].iter().map(|transition| (transition.clone(), false)).collect();
    assert_eq!(rows, unmarked);
    let standings = world.system(move |tx| async move { runs::standings(tx, &[run], &QUEUES).await }.boxed()).await.unwrap();
    let standing = runs::Standing { run, state: transitions[2].to, version: 3, queue_position: 0, blocked_by: None };
    assert_eq!(standings, [standing]);
}

/// The words of a run stand in its message, once: a transition that is read back gets them from there.
#[tokio::test]
async fn the_record_of_an_end_refers_to_its_message() {
    let world = World::new().await;
    let thread = world.thread().await;
    let run = world.send(thread, "x").await.run;
    let claimed = world.claim(world.session().await, 1).await;
    world.complete(lease(&claimed[0].row), "the words of the answer").await;
    let query = format!("SELECT record::text FROM run_transitions WHERE run_id = '{}' AND version = 3", run.uuid());
    let record: String = server::value(&world.url, &query).await;
    assert!(record.contains("message_id") && !record.contains("the words"), "{record}");
    let rows = world.system(move |tx| runs::log_rows(tx, run, 2, false).boxed()).await.unwrap().transitions;
    let Record::Finished(finished) = &rows[0].0.record else { panic!("{rows:?}") };
    let text = finished.message.as_ref().map(|message| plain_text(&message.parts));
    assert_eq!(text.as_deref(), Some("the words of the answer"));
}

#[tokio::test]
async fn marks_go_up_to_a_version_and_no_further() {
    let world = World::new().await;
    let sent = world.send(world.thread().await, "x").await;
    assert_eq!(unlogged(&world).await, [], "a run that waits has nothing to show");
    world.claim(world.session().await, 1).await;
    let run = sent.run;
    assert_eq!(unlogged(&world).await, [run]);
    let mark = |logged: Vec<(RunId, u64)>, fed: Vec<(RunId, u64)>| {
        world.system(move |tx| {
            let (logged, fed) = (logged.clone(), fed.clone());
            async move { outbox::mark(tx, &logged, &fed).await }.boxed()
        })
    };
    mark(vec![(run, 1)], vec![(run, 2)]).await.unwrap();
    let rows = world.system(move |tx| runs::log_rows(tx, run, 0, false).boxed()).await.unwrap().transitions;
    assert_eq!(rows.iter().map(|(_, logged)| *logged).collect::<Vec<_>>(), [true, false]);
    assert_eq!(unlogged(&world).await, [run]);
    assert_eq!(unfed(&world).await, []);
    mark(vec![(run, 2)], vec![]).await.unwrap();
    assert_eq!(unlogged(&world).await, []);
}

#[tokio::test]
async fn slices_share_the_runs_out_and_leave_out_what_they_are_told_to() {
    let world = World::new().await;
    let session = world.session().await;
    let mut all = Vec::new();
    for _ in 0..12 {
        all.push(world.running(session).await.run);
    }
    all.sort_unstable();
    let look = |slice: Slice| {
        let world = &world;
        async move {
            let (one, other) = (slice.clone(), slice);
            let logged = world.system(move |tx| {
                let slice = one.clone();
                outbox::unlogged(tx, 0, slice, 100).boxed()
            });
            let fed = world.system(move |tx| {
                let slice = other.clone();
                outbox::unfed(tx, slice, 100).boxed()
            });
            let mut logged: Vec<RunId> = logged.await.unwrap().items.into_iter().map(|(ids, _)| ids.id).collect();
            let mut fed: Vec<RunId> = fed.await.unwrap().items.into_iter().map(|(ids, _)| ids.id).collect();
            logged.sort_unstable();
            fed.sort_unstable();
            fed.dedup();
            assert_eq!(logged, fed);
            logged
        }
    };
    let mut found = Vec::new();
    for nth in 0..4 {
        found.extend(look(Slice { nth, of: 4, ..Slice::whole() }).await);
    }
    found.sort_unstable();
    assert_eq!(found, all);
    assert_eq!(look(Slice { except: all[1..].to_vec(), ..Slice::whole() }).await, all[..1]);
}

/// Rows that stay where they are, because this version cannot read them, hide none behind them: a look goes on where the last came to.
#[tokio::test]
async fn a_look_goes_on_behind_what_it_found() {
    let world = World::new().await;
    let session = world.session().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(world.running(session).await.run);
    }
    for run in &runs[..2] {
        let change = format!("UPDATE run_transitions SET cause = 'a whim' WHERE run_id = '{}' AND version = 2", run.uuid());
        server::execute(&world.url, &change).await;
    }
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let slice = Slice { after, ..Slice::whole() };
        let look = world.system(move |tx| outbox::unlogged(tx, 0, slice.clone(), 1).boxed()).await.unwrap();
        found.extend(look.items.into_iter().map(|(ids, _)| ids.id));
        if look.reached.is_none() {
            break;
        }
        after = look.reached;
    }
    assert_eq!(found, runs);
}
