//! Branches in the log: side by side, over two attempts, one of whose branches is taken back. The fold equals the journal (S3).

use crate::client::{SNAPSHOT, START, Viewer};
use crate::world::{Relay, World, ending, serve};
use runmesh_domain::agent::{Tool, ToolKind, ToolPolicy};
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::fold::{CallView, RunView, StepView};
use runmesh_domain::journal::{CALL_CLOSED, ModelStep, Step, Usage};
use runmesh_domain::message::Part;
use runmesh_domain::path::StepKey;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::Outcome;
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use runmesh_store::runs;
use runmesh_store::steps::{self, Entry};
use runmesh_wire::IntoWire as _;
use runmesh_wire::pb::stream as pb;
use std::collections::BTreeSet;

fn key(path: &str, step_index: u32) -> StepKey {
    StepKey { path: path.parse().unwrap(), step_index }
}

fn result(text: &str, calls: usize) -> ModelStep {
    let call = Part::tool_call("c", "look", "{}");
    let parts = std::iter::once(Part::text(text)).chain(vec![call; calls]).collect();
    ModelStep { parts, model: "m".into(), finish_reason: "tool_calls".into(), usage: Usage::default() }
}

fn begun(step: &StepKey) -> Event {
    Event::StepStarted { step: step.clone(), model: "m".into() }
}

fn said(step: &StepKey, text: &str) -> Event {
    Event::TextDelta { step: step.clone(), text: text.into() }
}

fn finished(step: &StepKey, text: &str, calls: usize) -> Event {
    Event::StepFinished { step: step.clone(), parts: result(text, calls).parts, usage: Usage::default() }
}

fn ended(step: &StepKey, call_index: u32, content: &str) -> Event {
    Event::ToolCallFinished { step: step.clone(), call_index, content: content.into(), is_error: false }
}

fn journaled(step: &StepKey, text: &str, calls: usize) -> Entry {
    crate::world::journaled(step.clone(), result(text, calls))
}

fn dispatched(step: &StepKey, call_index: u32) -> Entry {
    Entry::CallDispatched { call: step.clone().call(call_index) }
}

fn done(step: &StepKey, call_index: u32, content: &str) -> Entry {
    Entry::CallDone { call: step.clone().call(call_index), content: content.into(), is_error: false }
}

fn wire(events: Vec<Event>) -> Vec<pb::RunEvent> {
    events.into_iter().map(|event| event.into_wire()).collect()
}

async fn record(world: &World, lease: LeaseClaim, entries: Vec<Entry>) {
    world
        .system(move |tx| {
            let entries = entries.clone();
            Box::pin(async move { steps::record(tx, lease, entries, None).await })
        })
        .await;
}

async fn journal(world: &World, lease: LeaseClaim) -> Vec<Step> {
    world.system(move |tx| Box::pin(async move { steps::load(tx, lease.run).await })).await
}

/// What of a view is finished, which must be what the journal shows (S3).
fn finished_of(view: &RunView) -> RunView {
    RunView { steps: view.steps.clone().into_iter().filter(|(_, step)| step.finished).collect(), ..view.clone() }
}

fn of_journal(view: &RunView, steps: &[Step]) -> RunView {
    RunView { steps: RunView::of_journal(steps, &[], 0, Chain::default()).steps, ..view.clone() }
}

/// Waits until everything journaled is in the log, and holds the two against each other.
async fn agrees(viewer: &mut Viewer, journal: &[Step]) {
    let seen = viewer.until(|seen| finished_of(&seen.view) == of_journal(&seen.view, journal)).await;
    assert!(!seen.from_database);
}

/// The fold up to each StepFinished and each transition: of every finished step it shows what the journal has, and no step that
/// was finished is lost again. Answers how many there were.
fn agrees_all_along(events: &[Event], journal: &[Step]) -> usize {
    let whole = RunView::of_journal(journal, &[], 0, Chain::default());
    let (mut view, mut finished, mut points) = (RunView::default(), BTreeSet::new(), 0);
    for event in events {
        view.apply(event);
        if let Event::StepFinished { step, .. } = event {
            finished.insert(step.clone());
        } else if !event.is_transition() {
            continue;
        }
        points += 1;
        let shown = finished_of(&view).steps;
        assert_eq!(shown.keys().cloned().collect::<BTreeSet<_>>(), finished, "at {event:?}");
        for (key, step) in shown {
            let stored = &whole.steps[&key];
            let calls = step.calls.iter().map(|(index, call)| {
                let outcome = call.outcome.clone().or_else(|| stored.calls[index].outcome.clone());
                (*index, CallView { outcome, ..call.clone() })
            });
            assert_eq!(&StepView { calls: calls.collect(), ..step.clone() }, stored, "step {key} at {event:?}");
        }
    }
    points
}

fn look() -> Tool {
    let kind = ToolKind::Http { url: "http://tool/".into(), schema: "{}".into(), idempotent: true };
    Tool { name: "look".into(), description: String::new(), policy: ToolPolicy::Allow, kind }
}

/// The first attempt: two branches side by side, of which one is finished and the other is being said when the worker is lost. It
/// journaled a result and a step that the log never got.
async fn first_attempt(world: &World, relay: &Relay, viewer: &mut Viewer) {
    let (top, a, a_next, b) = (key("", 1), key("1.0", 1), key("1.0", 2), key("1.1", 1));
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    record(world, lease, vec![journaled(&top, "ask both: ", 2), dispatched(&top, 0), dispatched(&top, 1)]).await;
    appender.send(wire(vec![begun(&top), finished(&top, "ask both: ", 2), begun(&a), begun(&b)])).await;
    agrees(viewer, &journal(world, lease).await).await;
    appender.send(wire(vec![said(&a, "one "), said(&b, "void "), said(&a, "two"), said(&b, "words")])).await;
    record(world, lease, vec![journaled(&a, "one two", 1), dispatched(&a, 0)]).await;
    appender.send(wire(vec![finished(&a, "one two", 1)])).await;
    appender.settled().await;
    let seen = viewer.until(|seen| seen.view.steps.get(&a).is_some_and(|step| step.finished)).await;
    assert_eq!(seen.view.steps[&b].text, "void words", "the other branch is still being said");
    assert_eq!(seen.view.text(), "ask both: ", "the answer is the top level's");
    agrees(viewer, &journal(world, lease).await).await;
    record(world, lease, vec![done(&a, 0, "seen"), journaled(&a_next, "three", 0)]).await;
    world.lose(lease).await;
}

/// The second attempt settles what the first left, and goes on with both branches.
async fn second_attempt(world: &World, relay: &Relay, viewer: &mut Viewer) -> LeaseClaim {
    let (top, a, b) = (key("", 1), key("1.0", 1), key("1.1", 1));
    let lease = world.claim().await;
    let (mut appender, started) = relay.client.append(lease).await;
    let open = |step_index, path: &str| pb::OpenStep { step_index, path: path.into() };
    assert_eq!(started.open_branch_steps, [open(1, "1.1")], "the lacking one came with the end of its attempt");
    assert!(started.open_step_indexes.is_empty());
    let open = |step_index, call_index, path: &str| pb::OpenCall { step_index, call_index, path: path.into() };
    assert_eq!(started.open_calls, [open(1, 0, ""), open(1, 1, "")]);
    let lost = Event::StepRetracted { step: b.clone(), reason: "attempt lost".into() };
    appender.send(wire(vec![lost])).await;
    appender.settled().await;
    let seen = viewer.until(|seen| !seen.view.steps.contains_key(&b) && seen.view.fence == lease.fence).await;
    assert_eq!(seen.view.steps[&a].text, "one two", "the other branch stays");
    agrees(viewer, &journal(world, lease).await).await;
    record(world, lease, vec![dispatched(&top, 0), dispatched(&top, 1), journaled(&b, "right words", 0)]).await;
    appender.send(wire(vec![begun(&b), said(&b, "right"), finished(&b, "right words", 0)])).await;
    agrees(viewer, &journal(world, lease).await).await;
    record(world, lease, vec![done(&top, 1, "b"), done(&top, 0, "a")]).await;
    appender.send(wire(vec![ended(&top, 1, "b"), ended(&top, 0, "a")])).await;
    appender.settled().await;
    lease
}

#[tokio::test]
async fn the_fold_of_branches_equals_the_journal_over_two_attempts() {
    let (world, _engines) = World::alone(vec![look()]).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let mut viewer = relay.client.attach(&who, run, START).await;
    first_attempt(&world, &relay, &mut viewer).await;
    let lease = second_attempt(&world, &relay, &mut viewer).await;
    let last = end(&world, lease).await;

    let seen = viewer.to_end().await;
    let steps = journal(&world, lease).await;
    assert_eq!((seen.view.steps.len(), &seen.view), (4, &of_journal(&seen.view, &steps)));
    assert_eq!(
        agrees_all_along(&seen.events, &steps),
        4 + 3 + 1,
        "the steps, two attempts, the end, and a step that the end of an attempt repeated"
    );
    let message = seen.view.finished.as_ref().unwrap().message.as_ref().unwrap();
    assert_eq!(message.parts.len(), 5, "text, two calls, two results: {message:?}");
    for from in [START, SNAPSHOT] {
        let again = relay.client.attach(&who, run, from).await.to_end().await;
        assert_eq!(again.view, seen.view);
    }
    // A relay on a log that knows nothing of the run answers from Postgres.
    world.system(move |tx| Box::pin(async move { runmesh_store::outbox::mark(tx, &[(run, last)], &[]).await })).await;
    let empty = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let mut config = world.config().await;
    config.nats_url = empty.url().to_owned();
    let elsewhere = serve(config).await;
    let stored = elsewhere.client.attach(&who, run, SNAPSHOT).await.to_end().await;
    assert!(stored.from_database);
    let of_log = RunView { seq: 0, chain: Chain::default(), ..seen.view };
    assert_eq!(RunView { seq: 0, chain: Chain::default(), ..stored.view }, of_log);
}

/// Calls that had not begun when their run ended: its holder ends it, or somebody cancels it while nobody drives it.
#[tokio::test]
async fn what_an_end_makes_of_open_calls_is_told_before_it() {
    let (world, _engines) = World::alone(vec![look()]).await;
    let (relay, who) = (world.relay().await, world.person());
    let (top, a) = (key("", 1), key("1.0", 1));
    for canceled in [false, true] {
        let run = world.send().await;
        let mut viewer = relay.client.attach(&who, run, START).await;
        let lease = world.claim().await;
        let (mut appender, _) = relay.client.append(lease).await;
        record(&world, lease, vec![journaled(&top, "three: ", 3), dispatched(&top, 0), journaled(&a, "inside", 2)]).await;
        record(&world, lease, vec![dispatched(&a, 0), done(&a, 0, "r")]).await;
        appender.send(wire(vec![begun(&top), finished(&top, "three: ", 3), finished(&a, "inside", 2), ended(&a, 0, "r")])).await;
        appender.settled().await;
        agrees(&mut viewer, &journal(&world, lease).await).await;
        if canceled {
            world.lose(lease).await;
            world.cancel(run).await;
        } else {
            end(&world, lease).await;
        }
        let seen = viewer.to_end().await;
        let steps = journal(&world, lease).await;
        assert_eq!(seen.view, of_journal(&seen.view, &steps), "the fold at the end is the journal (S3)");
        let closed = |step: &StepKey, index: u32| seen.view.steps[step].calls[&index].outcome.clone();
        assert_eq!(closed(&top, 0), None, "it may have happened");
        for (step, index) in [(&top, 1), (&top, 2), (&a, 1)] {
            assert_eq!(closed(step, index), Some((CALL_CLOSED.to_owned(), true)), "call {index} of {step}");
        }
        let stored = relay.client.attach(&who, run, SNAPSHOT).await.to_end().await;
        assert_eq!(stored.view, seen.view, "as a snapshot shows it");
    }
}

/// The holder fails the run; its log is told. Answers the run's version.
async fn end(world: &World, lease: LeaseClaim) -> u64 {
    let outcome = Outcome::Failed { reason: "R".into(), detail: String::new() };
    let ending = world.system(move |tx| {
        let ending = ending(outcome.clone(), None, None);
        Box::pin(async move { runs::finish(tx, lease, ending).await })
    });
    let (row, committed) = ending.await;
    world.tell(committed).await;
    row.run.version
}

#[tokio::test]
async fn a_malformed_path_never_enters_the_log() {
    let world = World::new().await;
    let (relay, _) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    for (path, step_index) in [("1", 1), ("1.0/", 1), ("01.0", 1), ("", -1)] {
        let (mut appender, _) = relay.client.append(lease).await;
        let delta = pb::TextDelta { step_index, text: "x".into(), path: path.into() };
        let good = Event::StepStarted { step: key("1.0", 1), model: "m".into() }.into_wire();
        appender.send(vec![good, pb::RunEvent { kind: Some(pb::run_event::Kind::TextDelta(delta)) }]).await;
        let refused = loop {
            match appender.answer().await {
                Ok(_) => {}
                Err(refused) => break refused,
            }
        };
        assert_eq!(runmesh_wire::status::reason(&refused), Some(runmesh_domain::Reason::InvalidField));
        let field = if path.is_empty() { "events.events[1].step_index" } else { "events.events[1].path" };
        assert!(refused.message().contains(field), "{}", refused.message());
    }
}
