//! The context of a run in pages that fit into one message, whatever the thread and the journal hold.

use crate::fixture::{World, dispatched, done, lease, model_step, step};
use futures::FutureExt as _;
use runmesh_domain::id::{SessionId, ThreadId};
use runmesh_domain::journal::Step;
use runmesh_domain::message::{Message, Part, add_page};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::Outcome;
use runmesh_store::runs::LastStep;
use runmesh_store::steps::{self, Context};

/// What common gRPC libraries take in one message when nobody tells them otherwise is 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

async fn pages(world: &World, lease: LeaseClaim) -> Vec<Context> {
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let asked = token.clone();
        let page = world.system(move |tx| {
            let asked = asked.clone();
            async move { steps::context(tx, lease, &asked).await }.boxed()
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
        add_page(&mut whole, page.messages.clone());
    }
    whole
}

fn journal(pages: &[Context]) -> Vec<Step> {
    joined(pages.iter().flat_map(|page| page.steps.clone()))
}

/// The steps of pages, each whole again.
pub fn joined(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut whole: Vec<Step> = Vec::new();
    for step in steps {
        match whole.last_mut() {
            Some(last) if last.step_index == step.step_index => last.calls.extend(step.calls),
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
pub async fn after_hard_work(world: &World) -> (SessionId, ThreadId) {
    let session = world.session().await;
    let thread = world.thread().await;
    let first = world.running_on(session, thread).await;
    work_hard(world, first, 1).await;
    let answer = LastStep { step_index: 2, result: step("there", &[]), unfinished: false };
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
    assert_eq!((claimed[0].row.run.id, &claimed[0].context), (sent.run, &None));
    let pages = pages(&world, lease(&claimed[0].row)).await;
    assert!(messages(&pages) == world.messages(thread).await, "in order, nothing twice and nothing left out");
    assert_eq!(messages(&pages).len(), 5);
}
