//! The journal: what is recorded once stays, and nothing runs that may not (R1, R4).

use crate::fixture::{World, dispatched, done, ending, in_branch, last, last_of, model_step, step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::{CALL_CLOSED, CallState};
use runmesh_domain::limits::ANSWER_RESULT_CHARS_MAX;
use runmesh_domain::log::Position;
use runmesh_domain::message::{Part, plain_text};
use runmesh_domain::path::StepKey;
use runmesh_domain::policy::Verdict;
use runmesh_domain::run::{Outcome, StateName};
use runmesh_domain::transition::Record;
use runmesh_domain::{Error, Refusal};
use runmesh_store::runs::{self, LastStep};
use runmesh_store::steps;

fn refused(refusal: Refusal) -> Error {
    Error::Refused(refusal)
}

fn is_conflict<T>(answer: runmesh_domain::Result<T>) -> bool {
    matches!(answer, Err(Error::Refused(Refusal::StepConflict { .. })))
}

#[tokio::test]
async fn a_step_gets_verdicts_and_its_exact_repeat_the_same() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    let entry = model_step(1, "let me see", &["read", "forbidden", "nosuch"]);
    let first = world.record(lease, vec![entry.clone()]).await.unwrap();
    let allowed: Vec<bool> = first.verdicts.iter().map(|one| one.verdict == Verdict::Allow).collect();
    assert_eq!(allowed, [true, false, false]);
    assert_eq!(world.record(lease, vec![entry]).await.unwrap(), first);
    assert!(is_conflict(world.record(lease, vec![model_step(1, "other", &[])]).await));
    assert!(is_conflict(world.record(lease, vec![model_step(3, "hole", &[])]).await));

    let run = lease.run;
    let journal = world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap();
    let states: Vec<CallState> = journal[0].calls.iter().map(|call| call.state).collect();
    assert_eq!(states, [CallState::Reserved, CallState::Failed, CallState::Failed]);
    assert_eq!(journal[0].calls[0].arguments, r#"{"a":2,"b":1}"#, "canonical");
    assert_eq!(world.get(run).await.usage.input_tokens, 3, "counted once");
}

#[tokio::test]
async fn calls_run_only_when_allowed_and_end_once() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    world.record(lease, vec![model_step(1, "", &["write", "forbidden"])]).await.unwrap();
    let not_allowed = refused(Refusal::CallNotAllowed { call: StepKey::top(1).call(1) });
    assert_eq!(world.record(lease, vec![dispatched(1, 1)]).await, Err(not_allowed));
    assert!(is_conflict(world.record(lease, vec![done(1, 0, "r")]).await), "not dispatched");
    assert!(is_conflict(world.record(lease, vec![dispatched(1, 7)]).await), "no such call");
    for _ in 0..2 {
        world.record(lease, vec![dispatched(1, 0)]).await.unwrap();
    }
    for _ in 0..2 {
        world.record(lease, vec![done(1, 0, "r")]).await.unwrap();
    }
    assert!(is_conflict(world.record(lease, vec![done(1, 0, "another")]).await));
    let batch = vec![model_step(2, "", &["read"]), dispatched(2, 0), done(2, 0, "x"), model_step(3, "so", &[])];
    world.record(lease, batch).await.unwrap();
    let all_or_none = vec![model_step(4, "", &["write"]), dispatched(4, 3)];
    assert!(is_conflict(world.record(lease, all_or_none).await));
    assert_eq!(world.get(lease.run).await.last_step, 3);
}

#[tokio::test]
async fn a_lost_attempt_is_fenced_but_hears_its_own_repeats() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    let entries = vec![model_step(1, "x", &["read"]), dispatched(1, 0), done(1, 0, "r")];
    let first = world.record(lease, entries.clone()).await.unwrap();
    world.expire(session).await;
    assert_eq!(world.reap().await.len(), 1);
    assert_eq!(world.record(lease, entries).await.unwrap(), first);
    let fenced = Err(refused(Refusal::Fenced));
    assert_eq!(world.record(lease, vec![model_step(2, "late", &[])]).await, fenced);
    assert_eq!(world.record(lease, vec![done(1, 0, "late")]).await, fenced);
    assert_eq!(world.finish(lease, Outcome::Completed, None).await.map(|_| ()), Err(refused(Refusal::Fenced)));
    assert_eq!(world.release(lease).await.map(|_| ()), Err(refused(Refusal::Fenced)));
    let context = world.system(move |tx| steps::context(tx, lease, "", 0).boxed()).await;
    assert_eq!(context.map(|_| ()), Err(refused(Refusal::Fenced)));
}

#[tokio::test]
async fn finish_stores_the_message_and_its_exact_repeat_answers_as_the_first() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    let entries = vec![model_step(1, "looking", &["read"]), dispatched(1, 0), done(1, 0, "42")];
    world.record(lease, entries).await.unwrap();
    let (row, committed) = world.finish(lease, Outcome::Completed, Some(last(2, "it is 42"))).await.unwrap();
    assert_eq!((row.run.state.name(), row.usage.input_tokens), (StateName::Completed, 6));
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let message = finished.message.as_ref().unwrap();
    let result = Part::ToolResult { call_id: "c0".into(), name: "read".into(), content: "42".into(), is_error: false };
    assert_eq!((message.parts.len(), &message.parts[2], message.unfinished), (4, &result, false));
    assert_eq!(world.messages(lease.thread).await[1], *message, "as stored");
    let run = lease.run;
    assert_eq!(world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap().len(), 2, "the last step is journaled");

    let again = world.finish(lease, Outcome::Completed, Some(last(2, "it is 42"))).await.unwrap();
    assert_eq!(again, (row, vec![]));
    let other = world.finish(lease, Outcome::Completed, Some(last(2, "it is 43"))).await;
    assert!(matches!(other, Err(Error::Refused(Refusal::StepConflict { .. }))), "the same Finish with another body");
    assert_eq!(world.record(lease, vec![model_step(3, "x", &[])]).await.map(|_| ()), Err(refused(Refusal::RunFinished)));
}

#[tokio::test]
async fn the_last_step_follows_the_journal_and_its_calls_are_closed_unrun() {
    let world = World::new().await;
    let session = world.session().await;
    let lease = world.running(session).await;
    assert!(is_conflict(world.finish(lease, Outcome::Completed, Some(last(2, "x"))).await));
    world.record(lease, vec![model_step(1, "x", &[])]).await.unwrap();
    assert!(is_conflict(world.finish(lease, Outcome::Completed, Some(last(1, "other"))).await));
    // The last step may be journaled already: then it is not there twice.
    let (_, committed) = world.finish(lease, Outcome::Completed, Some(last(1, "x"))).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    assert_eq!(finished.message.as_ref().unwrap().parts, [Part::text("x")]);

    let lease = world.running(session).await;
    let limit = Outcome::Failed { reason: "MAX_STEPS".into(), detail: "too many".into() };
    let asked = last_of(1, step("more", &["write"]));
    let (row, committed) = world.finish(lease, limit, Some(asked)).await.unwrap();
    assert_eq!(row.run.state.reason_and_detail(), ("MAX_STEPS", "too many"));
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let parts = &finished.message.as_ref().unwrap().parts;
    assert!(matches!(&parts[2], Part::ToolResult { content, is_error: true, .. } if content == CALL_CLOSED));
    let run = lease.run;
    let journal = world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap();
    assert_eq!(journal[0].calls[0].state, CallState::Failed);
}

#[tokio::test]
async fn an_end_names_the_calls_that_had_not_begun() {
    let world = World::new().await;
    let session = world.session().await;
    for branch in [false, true] {
        let lease = world.running(session).await;
        let mut entries = vec![model_step(1, "", &["write", "read", "forbidden", "read"]), dispatched(1, 0), dispatched(1, 3)];
        let mut expected = vec![StepKey::top(1).call(1)];
        if branch {
            entries.push(in_branch("1.3", model_step(1, "", &["read"])));
            expected.push(StepKey { path: "1.3".parse().unwrap(), step_index: 1 }.call(0));
        }
        world.record(lease, entries).await.unwrap();
        let (_, committed) = world.finish(lease, Outcome::Canceled, None).await.unwrap();
        let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
        assert_eq!(finished.closed_calls, expected, "neither those under way nor one that was denied");
    }
}

#[tokio::test]
async fn what_was_cut_off_is_in_the_message_and_not_in_the_journal() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    let cut_off = LastStep { unfinished: true, ..last(1, "once upon") };
    let (row, committed) = world.finish(lease, Outcome::Canceled, Some(cut_off)).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let message = finished.message.as_ref().unwrap();
    assert!(message.unfinished);
    assert_eq!((message.parts.clone(), row.last_step), (vec![Part::text("once upon")], 0));

    let lease = world.running(world.session().await).await;
    let (_, committed) = world.finish(lease, Outcome::Canceled, None).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    assert_eq!(finished.message, None, "nothing was produced");
}

#[tokio::test]
async fn positions_only_go_forward() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    let at = |seq| Some(Position { seq, chain: Chain(seq | 1 << 63) });
    for (seq, kept) in [(5, 5), (3, 5), (9, 9)] {
        let entries = vec![];
        world
            .system(move |tx| {
                let entries = Vec::clone(&entries);
                async move { steps::record(tx, lease, entries, at(seq)).await }.boxed()
            })
            .await
            .unwrap();
        assert_eq!(Some(world.get(lease.run).await.position), at(kept));
    }
    let (_, committed) =
        world.system(move |tx| runs::finish(tx, lease, ending(Outcome::Completed, None, at(12))).boxed()).await.unwrap();
    assert_eq!(Some(committed[0].position), at(12));
}

/// A result of a tool stands in the journal, once: the message refers to it, and whoever reads the message gets it from there.
#[tokio::test]
async fn a_message_refers_to_the_results_of_its_run() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let lease = world.running_on(session, thread).await;
    let long = "ß".repeat(ANSWER_RESULT_CHARS_MAX + 1);
    let entries = [model_step(1, "look", &["read", "read", "forbidden", "read"]), dispatched(1, 0), dispatched(1, 1)];
    world.record(lease, entries.to_vec()).await.unwrap();
    world.record(lease, vec![done(1, 0, "the first result"), done(1, 1, &long)]).await.unwrap();
    let (_, committed) = world.finish(lease, Outcome::Completed, Some(last(2, "done"))).await.unwrap();
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    let published = finished.message.as_ref().unwrap();

    let query = format!("SELECT parts::text FROM messages WHERE run_id = '{}' AND role = 'assistant'", lease.run.uuid());
    let stored: String = server::value(&world.url, &query).await;
    assert!(!stored.contains("the first result") && !stored.contains("ßß") && stored.len() < 4_000, "{stored}");

    let read = world.messages(thread).await.pop().unwrap();
    assert_eq!(read, *published, "what is read is what was published");
    let results: Vec<&str> = read
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolResult { content, .. } => Some(content.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!((results[0], results[3]), ("the first result", CALL_CLOSED));
    assert!(results[1].starts_with("ßß") && results[1].ends_with(" bytes]"), "it is cut");
    assert!(results[2].contains("denies"), "{}", results[2]);

    // The next turn's model gets it too.
    world.send(thread, "and?").await;
    let next = world.claim(session, 1).await.pop().unwrap();
    let context = next.context.unwrap();
    assert!(format!("{:?}", context.messages).contains("the first result"));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_hides_no_other() {
    let world = World::new().await;
    let thread = world.thread().await;
    let runs = [world.send(thread, "one").await.run, world.send(thread, "two").await.run, world.send(thread, "three").await.run];
    let change = |run: RunId, to: &str| format!("UPDATE messages SET {to} WHERE run_id = '{}'", run.uuid());
    server::execute(&world.url, &change(runs[0], "parts = '7'")).await;
    let newer = r#"[{"type": "picture", "url": "u"}, {"type": "text", "text": "what is known of two"}]"#;
    server::execute(&world.url, &change(runs[1], &format!("parts = '{newer}'"))).await;
    let read: Vec<String> = world.messages(thread).await.iter().map(|message| plain_text(&message.parts)).collect();
    assert_eq!(read, ["what is known of two", "three"]);
    for page_size in [1, 2] {
        let pages = world.message_pages(thread, page_size).await;
        assert_eq!(pages.iter().flatten().count(), 2, "pages of {page_size}");
    }
}
