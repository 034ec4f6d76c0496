//! Branches: steps and calls below a call of the run, each branch numbered for itself.

use crate::context::{bytes_of, journal, pages};
use crate::fixture::{World, dispatched, done, in_branch, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::journal::{CALL_CLOSED, CallState, Step, call_key};
use runmesh_domain::message::plain_text;
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::{Outcome, StateName};
use runmesh_domain::transition::Record;
use runmesh_domain::{Error, Refusal, limits};
use runmesh_store::{PageRequest, actions, steps};
use std::collections::BTreeSet;

fn key(path: &str, step_index: u32) -> StepKey {
    StepKey { path: path.parse().unwrap(), step_index }
}

async fn load(world: &World, lease: LeaseClaim) -> Vec<Step> {
    world.org_tx(move |tx| steps::load(tx, lease.run).boxed()).await.unwrap()
}

fn names(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| format!("{}:{}", step.path, step.step_index)).collect()
}

async fn conflicts(world: &World, lease: LeaseClaim, entries: Vec<steps::Entry>) -> String {
    match world.record(lease, entries).await {
        Err(Error::Refused(Refusal::StepConflict { problem })) => problem,
        other => panic!("{other:?}"),
    }
}

/// A run whose first step asked for two tools that may be repeated, both under way.
async fn with_two_branches(world: &World) -> LeaseClaim {
    let lease = world.running(world.session().await).await;
    let opened = vec![model_step(1, "", &["read", "read"]), dispatched(1, 0), dispatched(1, 1)];
    world.record(lease, opened).await.unwrap();
    lease
}

#[tokio::test]
async fn branches_are_numbered_for_themselves_and_go_on_side_by_side() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    let both = vec![
        in_branch("1.1", model_step(1, "b", &["write", "forbidden"])),
        in_branch("1.0", model_step(1, "a", &["read"])),
        model_step(2, "top", &[]),
    ];
    let first = world.record(lease, both.clone()).await.unwrap();
    let said: Vec<(CallKey, String)> = first.verdicts.iter().map(|one| (one.call.clone(), one.idempotency_key.clone())).collect();
    let expected = [key("1.1", 1).call(0), key("1.1", 1).call(1), key("1.0", 1).call(0)];
    assert_eq!(said, expected.map(|call| (call.clone(), call_key(lease.run, &call.step, call.call_index))));
    assert_eq!(world.record(lease, both).await.unwrap(), first, "an exact repeat hears the same");
    let keys: BTreeSet<String> = said.into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys.len(), 3, "no two calls share a key");

    // A branch of a branch, all in one.
    let nested = vec![
        in_branch("1.0", dispatched(1, 0)),
        in_branch("1.0/1.0", model_step(1, "deep", &["read"])),
        in_branch("1.0/1.0", dispatched(1, 0)),
        in_branch("1.0/1.0", done(1, 0, "r")),
        in_branch("1.0", model_step(2, "a again", &[])),
    ];
    world.record(lease, nested).await.unwrap();
    let stored = load(&world, lease).await;
    assert_eq!(names(&stored), [":1", ":2", "1.0:1", "1.0:2", "1.0/1.0:1", "1.1:1"], "each branch behind the one it came from");
    assert_eq!((stored[4].calls[0].state, stored[4].calls[0].content.as_str()), (CallState::Done, "r"));
    assert_eq!(stored[4].calls[0].idempotency_key, call_key(lease.run, &key("1.0/1.0", 1), 0), "as when it was recorded");
    let row = world.get(lease.run).await;
    assert_eq!((row.last_step, row.usage.input_tokens), (2, 6 * 3), "the top level's last step, and what all cost");
    let before = world.org_tx(move |tx| steps::journaled_before(tx, lease.run, lease.fence + 1).boxed()).await.unwrap();
    assert_eq!(before, stored.iter().map(Step::key).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_branch_needs_its_call_under_way() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    let step = |path: &str, index| vec![in_branch(path, model_step(index, "x", &["read"]))];
    assert!(conflicts(&world, lease, step("1.2", 1)).await.contains("1/2, which is not journaled"), "no such call");
    assert!(conflicts(&world, lease, step("2.0", 1)).await.contains("2/0, which is not journaled"), "no such step");
    assert!(conflicts(&world, lease, step("1.0/1.0", 1)).await.contains("1/0 of branch 1.0, which is not journaled"));
    assert!(conflicts(&world, lease, step("1.0", 2)).await.contains("does not follow step 0"));
    world.record(lease, step("1.0", 1)).await.unwrap();
    let other = vec![in_branch("1.0", model_step(1, "another", &[]))];
    assert!(conflicts(&world, lease, other).await.contains("another content"));
    assert!(conflicts(&world, lease, vec![in_branch("1.0", dispatched(1, 5))]).await.contains("no call 1/5 of branch 1.0"));
    assert!(conflicts(&world, lease, step("1.0/1.0", 1)).await.contains("is reserved"), "its call has not begun");
    world.record(lease, vec![done(1, 0, "over")]).await.unwrap();
    assert!(conflicts(&world, lease, step("1.0", 2)).await.contains("is done"), "nothing more becomes part of a result");
    assert!(conflicts(&world, lease, vec![in_branch("1.0", dispatched(1, 0))]).await.contains("is done"));
    world.record(lease, step("1.0", 1)).await.unwrap();
    let denied = vec![in_branch("1.1", model_step(1, "", &["forbidden"])), in_branch("1.1", dispatched(1, 0))];
    let refusal = Refusal::CallNotAllowed { call: key("1.1", 1).call(0) };
    assert_eq!(world.record(lease, denied).await, Err(Error::Refused(refusal)), "policy holds in branches");
    assert_eq!(names(&load(&world, lease).await), [":1", "1.0:1"], "what was refused left nothing");
}

#[tokio::test]
async fn a_lost_attempt_hears_its_own_repeats_of_a_branch_and_nothing_new() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    let entries = vec![
        model_step(1, "", &["read"]),
        dispatched(1, 0),
        in_branch("1.0", model_step(1, "x", &["read"])),
        in_branch("1.0", dispatched(1, 0)),
        in_branch("1.0", done(1, 0, "r")),
    ];
    let first = world.record(lease, entries.clone()).await.unwrap();
    world.expire(session).await;
    assert_eq!(world.reap().await.len(), 1);
    assert_eq!(world.record(lease, entries).await.unwrap(), first);
    let late = vec![in_branch("1.0", model_step(2, "late", &[]))];
    assert_eq!(world.record(lease, late.clone()).await, Err(Error::Refused(Refusal::Fenced)));
    assert_eq!(world.state(lease.run).await, StateName::Ready, "all that was under way may be repeated");
    let again = crate::fixture::lease(&world.claim(world.session().await, 1).await[0].row);
    world.record(again, vec![dispatched(1, 0)]).await.unwrap();
    world.record(again, late).await.unwrap();
    assert_eq!(world.get(lease.run).await.last_step, 1);
}

#[tokio::test]
async fn a_lost_call_of_a_branch_waits_for_a_person() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    let entries = vec![
        model_step(1, "", &["read", "read"]),
        dispatched(1, 0),
        dispatched(1, 1),
        in_branch("1.0", model_step(1, "", &["read", "write"])),
        in_branch("1.1", model_step(1, "", &["write"])),
        in_branch("1.0", dispatched(1, 1)),
    ];
    world.record(lease, entries).await.unwrap();
    world.expire(session).await;
    world.reap().await;
    let org = world.org;
    let pending = || world.org_tx(move |tx| async move { actions::list_pending(tx, org, &PageRequest::first()).await }.boxed());
    let action = pending().await.unwrap().items.remove(0);
    let asked: Vec<(String, u32, u32)> =
        action.calls.iter().map(|call| (call.path.to_string(), call.step_index, call.call_index)).collect();
    assert_eq!(asked, [("1.0".to_owned(), 1, 1)], "only the one that was under way");
    let unknown: Vec<_> = load(&world, lease).await.into_iter().flat_map(|step| step.calls).collect();
    assert_eq!(unknown.iter().filter(|call| call.state == CallState::Unknown).count(), 1);
    world.late(lease, vec![in_branch("1.1", done(1, 0, "not asked")), in_branch("1.0", done(1, 1, "it happened"))]).await;
    let late = pending().await.unwrap().items.remove(0).late_results;
    assert_eq!(
        late.iter().map(|late| (late.call.clone(), late.content.as_str())).collect::<Vec<_>>(),
        [(key("1.0", 1).call(1), "it happened")]
    );

    let (_, committed) = world.cancel(lease.run).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let message = finished.message.clone().unwrap();
    assert_eq!(message.parts.len(), 5, "the text, the two calls and their results of the top level: {message:?}");
    let states: Vec<(String, CallState)> =
        load(&world, lease).await.into_iter().flat_map(|step| step.calls).map(|call| (call.content, call.state)).collect();
    assert_eq!(states[2], (CALL_CLOSED.to_owned(), CallState::Failed), "reserved in a branch");
    assert_eq!(states[3].1, CallState::Unknown);
    assert_eq!(states[4], (CALL_CLOSED.to_owned(), CallState::Failed));
}

#[tokio::test]
async fn the_message_is_made_of_the_top_level() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    let entries = vec![in_branch("1.0", model_step(1, "inside", &[])), done(1, 0, "from inside"), done(1, 1, "r")];
    world.record(lease, entries).await.unwrap();
    let last = crate::fixture::last(2, "outside");
    let (row, committed) = world.finish(lease, Outcome::Completed, Some(last)).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    assert_eq!(plain_text(&finished.message.as_ref().unwrap().parts), "outside");
    assert_eq!((row.last_step, finished.usage.input_tokens), (2, 9));
    assert_eq!(names(&load(&world, lease).await), [":1", ":2", "1.0:1"]);
}

/// However much a branch says, it takes no room from the answer.
#[tokio::test]
async fn a_long_branch_leaves_the_message_whole() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    let long = "x".repeat(5 << 20);
    for index in 1..=2 {
        world.record(lease, vec![in_branch("1.0", model_step(index, &long, &["read"]))]).await.unwrap();
    }
    assert!(2 * long.len() > limits::ANSWER_BYTES_MAX);
    world.record(lease, vec![done(1, 0, "r"), model_step(2, "outside", &[])]).await.unwrap();
    let (_, committed) = world.finish(lease, Outcome::Completed, None).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let message = finished.message.as_ref().unwrap();
    assert_eq!(
        (plain_text(&message.parts).as_str(), message.parts.len()),
        ("outside", 6),
        "an empty text, two calls and results, the text"
    );
}

#[tokio::test]
async fn what_branches_journal_counts_against_the_bounds_of_the_run() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    let before = world.get(lease.run).await.journal;
    let said = in_branch("1.0", model_step(1, "some words", &["read"]));
    world.record(lease, vec![said, in_branch("1.0", dispatched(1, 0)), in_branch("1.0", done(1, 0, "result"))]).await.unwrap();
    let after = world.get(lease.run).await.journal;
    assert_eq!(after.calls, before.calls + 1);
    assert!(after.bytes >= before.bytes + "some wordsresult".len() as u64, "{before:?}, {after:?}");

    let set = async |columns: String| {
        server::execute(&world.url, &format!("UPDATE runs SET {columns} WHERE id = '{}'", lease.run.uuid())).await;
    };
    let full = || {
        let refusal = Refusal::JournalLimit { bytes_max: limits::JOURNAL_BYTES_MAX, calls_max: limits::JOURNAL_CALLS_MAX };
        Err(Error::Refused(refusal))
    };
    set(format!("journal_calls = {}", limits::JOURNAL_CALLS_MAX)).await;
    assert_eq!(world.record(lease, vec![in_branch("1.1", model_step(1, "", &["read"]))]).await, full());
    world.record(lease, vec![in_branch("1.1", model_step(1, "", &[]))]).await.unwrap();
    set(format!("journal_calls = 0, journal_bytes = {}", limits::JOURNAL_BYTES_MAX)).await;
    assert_eq!(world.record(lease, vec![in_branch("1.1", model_step(2, "", &[]))]).await, full());
    world.record(lease, vec![done(1, 0, "what is under way may end")]).await.unwrap();
}

/// Branches with results of 1 MiB, and more steps than fit on a page.
#[tokio::test]
async fn journals_with_branches_are_read_whole_in_pages() {
    let world = World::new().await;
    let lease = with_two_branches(&world).await;
    for (path, steps) in [("1.1", 1..=3), ("1.0", 1..=1)] {
        for index in steps {
            world.record(lease, vec![in_branch(path, model_step(index, "hm", &["read"; 3]))]).await.unwrap();
            for call in 0..3 {
                let large = format!("{path}/{index}/{call}").repeat(200_000)[..1 << 20].to_owned();
                let ended = in_branch(path, done(index, call, &large));
                world.record(lease, vec![in_branch(path, dispatched(index, call)), ended]).await.unwrap();
            }
        }
    }
    world.record(lease, vec![in_branch("1.0", model_step(2, "", &["read"])), in_branch("1.0", dispatched(2, 0))]).await.unwrap();
    let many = (1..=60).map(|index| in_branch("1.0/2.0", model_step(index, &index.to_string(), &[])));
    world.record(lease, many.collect()).await.unwrap();
    let stored = load(&world, lease).await;
    assert_eq!(stored.len(), 1 + 2 + 60 + 3);
    let of_context = pages(&world, lease).await;
    assert!(of_context.len() > 12, "a result a page");
    assert!(journal(&of_context) == stored, "in order, nothing twice and nothing left out");
    for size in [1, 7, limits::PAGE_SIZE_MAX] {
        let of_history = crate::pages::history(&world, lease.run, size, true).await;
        assert!(of_history.iter().all(|page| bytes_of(&[], &page.steps) < crate::context::MESSAGE_BYTES_MAX));
        assert!(crate::context::joined(of_history.into_iter().flat_map(|page| page.steps)) == stored);
    }
}
