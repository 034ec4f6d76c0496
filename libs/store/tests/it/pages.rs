//! What people read, in pages that fit into one answer of a common gRPC library, whatever there is to read.

use crate::context::{MESSAGE_BYTES_MAX, bytes_of, joined, work_hard};
use crate::fixture::{World, dispatched, done, id, last, model_step, step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::agent::{Agent, AgentSpec};
use runmesh_domain::id::{AgentId, RunId};
use runmesh_domain::limits::{ANSWER_RESULT_CHARS_MAX, INSTRUCTIONS_BYTES_MAX, PAGE_BYTES_MAX, PAGE_TRANSITIONS_MAX};
use runmesh_domain::message::{Message, Part, plain_text};
use runmesh_domain::run::Outcome;
use runmesh_store::runs;
use runmesh_store::steps::{self, History};
use runmesh_store::{Page, PageRequest, actions, agents};

const MIB: usize = 1 << 20;

fn fits(messages: &[Message]) {
    let bytes = bytes_of(messages, &[]);
    assert!(bytes < MESSAGE_BYTES_MAX, "{bytes} bytes");
}

#[tokio::test]
async fn long_messages_are_listed_one_by_one_and_short_ones_together() {
    let world = World::new().await;
    let thread = world.thread().await;
    let long = |digit: &str| digit.repeat(MIB);
    // None but the first is placed yet: a list has those that wait too.
    let texts = [long("1"), "a".into(), "b".into(), long("2"), long("3"), "c".repeat(MIB / 2), "d".repeat(MIB / 4), "e".into()];
    for text in &texts {
        world.send(thread, text).await;
    }
    let pages = world.message_pages(thread, 1_000).await;
    pages.iter().for_each(|page| fits(page));
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1, 1, 3]);
    let listed: Vec<_> = pages.concat().iter().map(|message| plain_text(&message.parts)).collect();
    assert!(listed == texts, "in order, nothing twice and nothing left out");
    let two = world.message_pages(thread, 2).await;
    assert_eq!(two.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1, 1, 2, 1]);
    assert!(two.concat() == pages.concat());
}

#[tokio::test]
async fn an_answer_with_large_results_goes_on_over_pages() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let lease = world.running_on(session, thread).await;
    let content = |call: u32| format!("1/{call} ").repeat(20_000)[..80_000].to_owned();
    world.record(lease, vec![model_step(1, "hm", &["read"; 60])]).await.unwrap();
    for call in 0..60 {
        world.record(lease, vec![dispatched(1, call), done(1, call, &content(call))]).await.unwrap();
    }
    world.finish(lease, Outcome::Completed, Some(last(2, "there"))).await.unwrap();
    world.send(thread, "thanks").await;

    let pages = world.message_pages(thread, 0).await;
    pages.iter().for_each(|page| fits(page));
    let whole = world.messages(thread).await;
    assert_eq!(whole.len(), 3);
    assert!(world.message_pages(thread, 1).await.concat().len() > whole.len(), "the large one stands on several");
    // Each result is cut in the message; the journal has all of it.
    let result = |call: u32| Part::ToolResult {
        call_id: format!("c{call}"),
        name: "read".into(),
        content: format!("{}\n[cut: the run's journal has all 80000 bytes]", &content(call)[..ANSWER_RESULT_CHARS_MAX]),
        is_error: false,
    };
    let mut said = step("hm", &["read"; 60]).parts;
    said.extend((0..60).map(result));
    said.push(Part::text("there"));
    assert!(whole[1].parts == said, "in order, nothing twice and nothing left out");
}

pub async fn history(world: &World, run: RunId, page_size: u32, include_steps: bool) -> Vec<History> {
    let (org, mut page_token, mut pages) = (world.org, String::new(), Vec::new());
    loop {
        let wish = PageRequest { page_size, page_token };
        let page = world.org_tx(move |tx| {
            let wish = wish.clone();
            async move { steps::history(tx, org, run, &wish, include_steps).await }.boxed()
        });
        let page = page.await.unwrap();
        assert!(bytes_of(&[], &page.steps) < MESSAGE_BYTES_MAX);
        page_token = page.next_page_token.clone();
        pages.push(page);
        assert!(pages.len() < 200, "the pages end");
        if page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_history_with_large_results_is_read_whole() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    work_hard(&world, lease, 2).await;
    world.record(lease, (3..=120).map(|index| model_step(index, "x", &["read"])).collect()).await.unwrap();
    let (org, run) = (world.org, lease.run);
    let stored = world.org_tx(move |tx| steps::load(tx, run).boxed()).await.unwrap();
    for size in [0, 1, 1_000] {
        let pages = history(&world, run, size, true).await;
        assert!(joined(pages.iter().flat_map(|page| page.steps.clone())) == stored, "nothing twice and nothing left out: {size}");
        let max = if size == 0 { 50 } else { size as usize };
        assert!(pages.iter().all(|page| (1..=max).contains(&page.steps.len())));
    }
    let pages = history(&world, run, 1_000, true).await;
    assert_eq!(pages.len(), 11, "a page for each large result, and one for the rest");
    let transitions = world.org_tx(move |tx| runs::history(tx, org, run).boxed()).await.unwrap();
    assert_eq!(pages[0].transitions, transitions);
    assert!(pages[1..].iter().all(|page| page.transitions.is_empty()), "they are told once");
    let without = history(&world, run, 0, false).await;
    assert_eq!((without.len(), without[0].steps.len(), without[0].transitions.len()), (1, 0, transitions.len()));
}

#[tokio::test]
async fn a_run_of_thousands_of_transitions_has_several_pages_of_them() {
    let world = World::new().await;
    let lease = world.running(world.session().await).await;
    world.record(lease, vec![model_step(1, "x", &[])]).await.unwrap();
    let text = format!(
        "INSERT INTO run_transitions (run_id, version, org_id, from_state, to_state, cause, fence, at, record)
         SELECT run_id, version + n, org_id, from_state, to_state, cause, fence, at, record
         FROM run_transitions, generate_series(1, {PAGE_TRANSITIONS_MAX}) n WHERE run_id = '{}' AND version = 2",
        lease.run.uuid()
    );
    server::execute(&world.url, &text).await;
    let pages = history(&world, lease.run, 0, true).await;
    let counts: Vec<_> = pages.iter().map(|page| (page.transitions.len(), page.steps.len())).collect();
    assert_eq!(counts, [(PAGE_TRANSITIONS_MAX as usize, 0), (2, 1)]);
    let versions = pages.iter().flat_map(|page| &page.transitions).map(|transition| transition.version);
    assert!(versions.eq(1..=u64::from(PAGE_TRANSITIONS_MAX) + 2), "each once and in order");
}

async fn agent_page(world: &World, page_size: u32, page_token: String) -> Page<Agent> {
    let (org, wish) = (world.org, PageRequest { page_size, page_token });
    let page = world.org_tx(move |tx| {
        let wish = wish.clone();
        async move { agents::list(tx, org, &wish).await }.boxed()
    });
    page.await.unwrap()
}

#[tokio::test]
async fn agents_with_long_instructions_are_listed_a_few_at_a_time() {
    let world = World::new().await;
    let org = world.org;
    for number in 0..9 {
        let instructions = "i".repeat(INSTRUCTIONS_BYTES_MAX);
        let made = world.org_tx(move |tx| {
            let spec = AgentSpec { instructions: instructions.clone(), ..AgentSpec::default() };
            let id = AgentId::from_uuid(id());
            async move { agents::create(tx, org, id, &format!("a{number}"), &spec).await }.boxed()
        });
        made.await.unwrap();
    }
    for (size, want) in [(1_000, 3), (2, 5)] {
        let (mut token, mut names, mut count) = (String::new(), Vec::new(), 0);
        loop {
            let page = agent_page(&world, size, token).await;
            let bytes: usize = page.items.iter().map(|agent| agent.spec.instructions.len()).sum();
            assert!(bytes <= PAGE_BYTES_MAX && !page.items.is_empty());
            names.extend(page.items.into_iter().map(|agent| agent.name));
            (token, count) = (page.next_page_token, count + 1);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(names.len(), 10, "with the default agent, the oldest: {names:?}");
        assert_eq!(names[..9], ["a8", "a7", "a6", "a5", "a4", "a3", "a2", "a1", "a0"]);
        assert_eq!(count, want);
    }
}

#[tokio::test]
async fn questions_with_long_arguments_come_page_by_page() {
    let world = World::new().await;
    let call = format!(
        r#"[{{"step_index": 1, "call_index": 0, "name": "send", "arguments": "{}", "arguments_digest": ""}}]"#,
        "x".repeat(600 << 10)
    );
    let text = format!(
        "INSERT INTO pending_actions (id, org_id, run_id, thread_id, kind, payload, digest, state, created_at, expires_at)
         SELECT gen_random_uuid(), '{}', gen_random_uuid(), gen_random_uuid(), 'recovery',
           jsonb_build_object('v', 1, 'summary', n::text, 'calls', '{call}'::jsonb), sha256('x'), 'pending',
           now() + n * interval '1 second', now() + interval '1 day' FROM generate_series(1, 4) n",
        world.org.uuid()
    );
    server::execute(&world.url, &text).await;
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (org, wanted) = (world.org, PageRequest { page_token: token, ..PageRequest::first() });
        let page = world.org_tx(move |tx| {
            let wanted = wanted.clone();
            async move { actions::list_pending(tx, org, &wanted).await }.boxed()
        });
        let page = page.await.unwrap();
        seen.extend(page.items.into_iter().map(|action| action.summary));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (["1", "2", "3", "4"].map(str::to_owned).to_vec(), 4));
}
