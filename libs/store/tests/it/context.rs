//! The context of a run in pages that fit into one message, whatever the thread and the journal hold.

use crate::fixture::{World, dispatched, done, last_of, lease, model_step, step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::id::{SessionId, ThreadId};
use runmesh_domain::journal::Step;
use runmesh_domain::limits;
use runmesh_domain::message::{Message, Part, add_older, cut_results};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::Outcome;
use runmesh_store::probe;
use runmesh_store::steps::{self, Context};

/// What common gRPC libraries take in one message when nobody tells them otherwise is 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

pub async fn pages(world: &World, lease: LeaseClaim) -> Vec<Context> {
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let asked = token.clone();
        let page = world.system(move |tx| {
            let asked = asked.clone();
            async move { steps::context(tx, lease, &asked, 0).await }.boxed()
        });
        let page = page.await.unwrap();
        let next = page.next_page_token.clone();
        assert!(bytes(&page) < MESSAGE_BYTES_MAX, "{} bytes", bytes(&page));
        pages.push(page);
        assert!(pages.len() < 100, "the pages end");
        match next {
            Some(next) => token = next,
            None => return pages,
        }
    }
}

fn bytes(page: &Context) -> usize {
    bytes_of(&page.messages, &page.steps)
}

/// More than they take in an answer.
pub fn bytes_of(messages: &[Message], steps: &[Step]) -> usize {
    let of_parts = |parts: &[Part]| serde_json::to_string(parts).unwrap().len();
    let of_step = |step: &Step| of_parts(&step.result.parts) + step.calls.iter().map(|call| call.content.len()).sum::<usize>();
    messages.iter().map(|message| of_parts(&message.parts)).chain(steps.iter().map(of_step)).sum()
}

fn messages(pages: &[Context]) -> Vec<Message> {
    let mut whole = Vec::new();
    for page in pages {
        add_older(&mut whole, page.messages.clone());
    }
    whole
}

/// The conversation with long results cut.
fn seen_by_the_model(mut messages: Vec<Message>) -> Vec<Message> {
    messages.iter_mut().for_each(|message| cut_results(&mut message.parts, limits::OLD_RESULT_BYTES_MAX));
    messages
}

pub fn journal(pages: &[Context]) -> Vec<Step> {
    joined(pages.iter().flat_map(|page| page.steps.clone()))
}

/// The steps of pages, each whole again.
pub fn joined(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut whole: Vec<Step> = Vec::new();
    for step in steps {
        match whole.last_mut() {
            Some(last) if last.key() == step.key() => last.calls.extend(step.calls),
            _ => whole.push(step),
        }
    }
    whole
}

/// Journals steps of five results of 1 MiB each.
pub async fn work_hard(world: &World, lease: LeaseClaim, steps: u32) {
    for step_index in 1..=steps {
        world.record(lease, vec![model_step(step_index, "hm", &["read"; 5])]).await.unwrap();
        for call in 0..5 {
            let result = done(step_index, call, &format!("{step_index}/{call}").repeat(350_000)[..1 << 20]);
            world.record(lease, vec![dispatched(step_index, call), result]).await.unwrap();
        }
    }
}

/// A thread whose first answer holds five results of 1 MiB and whose second is short; and the session that gave them.
async fn after_hard_work(world: &World) -> (SessionId, ThreadId) {
    let session = world.session().await;
    let thread = world.thread().await;
    let first = world.running_on(session, thread).await;
    work_hard(world, first, 1).await;
    let answer = last_of(2, step("there", &[]));
    world.finish(first, Outcome::Completed, Some(answer)).await.unwrap();
    let second = world.running_on(session, thread).await;
    world.complete(second, "and so on").await;
    (session, thread)
}

#[tokio::test]
async fn a_journal_with_large_results_is_read_whole() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    work_hard(&world, lease, 2).await;
    world.record(lease, vec![model_step(3, &"x".repeat(1 << 20), &["read"])]).await.unwrap();
    let pages = pages(&world, lease).await;
    let run = lease.run;
    let stored = world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap();
    assert_eq!(stored.len(), 3);
    assert!(journal(&pages) == stored, "in order, nothing twice and nothing left out");
    assert!(messages(&pages) == world.messages(lease.thread).await);
}

#[tokio::test]
async fn a_journal_of_many_steps_is_read_whole() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    for from in [1, 61] {
        world.record(lease, (from..from + 60).map(|index| model_step(index, "x", &[])).collect()).await.unwrap();
    }
    let indexes: Vec<u32> = journal(&pages(&world, lease).await).iter().map(|step| step.step_index).collect();
    assert_eq!(indexes, (1..=120).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_with_large_results_does_not_close_the_thread() {
    let world = World::new().await;
    let (session, thread) = after_hard_work(&world).await;
    let sent = world.send(thread, "what was the third result?").await;
    let claimed = world.claim(session, 1).await;
    assert_eq!(claimed[0].row.run.id, sent.run);
    let stored = seen_by_the_model(world.messages(thread).await);
    let inline = claimed[0].context.as_ref().unwrap();
    assert!(inline.messages == stored[2..] && inline.next_page_token.is_some(), "the newest, up to the large one");
    let pages = pages(&world, lease(&claimed[0].row)).await;
    assert!(messages(&pages) == stored, "in order, nothing twice and nothing left out");
    assert_eq!(messages(&pages).len(), 5);
}

/// A thread with so many turns of an answer of 1,000 bytes each, and a lease on its next one.
async fn long_thread(world: &World, turns: i64) -> LeaseClaim {
    let (session, thread) = (world.session().await, world.thread().await);
    let made = format!(
        "INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, place, created_at)
         SELECT gen_random_uuid(), '{org}', '{thread}', gen_random_uuid(), n, role,
           jsonb_build_array(jsonb_build_object('type', 'text', 'text', repeat('x', 1000))), 1016, false,
           2 * n - (role = 'user')::int, now()
         FROM generate_series(1, {turns}) n, unnest(ARRAY['user', 'assistant']) role;
         UPDATE threads SET next_turn = {turns} + 1, next_place = 2 * {turns} + 1 WHERE id = '{thread}'",
        org = world.org.uuid(),
        thread = thread.uuid()
    );
    server::execute(&world.url, &made).await;
    world.running_on(session, thread).await
}

/// The calls and the rows that it takes to read as many bytes of a conversation as a window holds.
async fn cost_of_a_window(world: &World, lease: LeaseClaim, window: usize) -> (u32, i64) {
    let (mut token, mut calls, mut rows, mut read) = (String::new(), 0, 0, 0);
    while read < window {
        let (asked, wanted) = (token.clone(), u64::try_from(window - read).unwrap());
        let page = world.system(move |tx| {
            let asked = asked.clone();
            async move {
                let before = probe::rows_read(tx).await?;
                let page = steps::context(tx, lease, &asked, wanted).await?;
                Ok((page, probe::rows_read(tx).await? - before))
            }
            .boxed()
        });
        let (page, of_page) = page.await.unwrap();
        (calls, rows, read) = (calls + 1, rows + of_page, read + bytes(&page));
        token = page.next_page_token.unwrap();
    }
    (calls, rows)
}

#[tokio::test]
async fn a_window_costs_the_same_on_a_thread_of_any_length() {
    let world = World::new().await;
    let (short, long) = (long_thread(&world, 300).await, long_thread(&world, 1_000).await);
    for window in [10_000, 200_000, 500_000] {
        let (of_short, of_long) = (cost_of_a_window(&world, short, window).await, cost_of_a_window(&world, long, window).await);
        assert_eq!(of_short, of_long, "{window} bytes");
    }
    let page = world.system(move |tx| steps::context(tx, long, "", 10_000).boxed()).await.unwrap();
    assert!((5..=10).contains(&page.messages.len()), "a page ends where the worker wants: {}", page.messages.len());
    // An assignment brings the newest messages along.
    world.release(long).await.unwrap();
    let claimed = world.claim(world.session().await, 1).await;
    let inline = claimed[0].context.as_ref().unwrap();
    let turns: Vec<u64> = inline.messages.iter().map(|message| message.turn_number).collect();
    assert!(turns.is_sorted() && turns.last() == Some(&1_001) && inline.next_page_token.is_some(), "{turns:?}");
}
