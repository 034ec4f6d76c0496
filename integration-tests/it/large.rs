//! Conversations and journals that are too large for one message of the mesh: the model is told all of them, and so is everybody
//! else who asks.

use crate::harness::{mesh, small};
use crate::rpc::Api;
use crate::tools::ask;
use runmesh_domain::agent::{Tool, ToolKind, ToolPolicy};
use runmesh_domain::limits::{ANSWER_RESULT_CHARS_MAX, TOOL_RESULT_BYTES_MAX};
use runmesh_domain::message::Part;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What the model was last asked, by who said it.
fn asked(mesh: &Mesh) -> Vec<(String, String)> {
    let body = mesh.model().received().pop().expect("a call").body().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    body["messages"].as_array().expect("messages").iter().map(|said| (text(&said["role"]), text(&said["content"]))).collect()
}

async fn said(mesh: &Mesh, run: &Run) -> String {
    let seen = mesh.attach(0, run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    seen.view().text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_reaches_the_model() {
    let mesh = small().start().await;
    let message = format!("{} many:7", "long ".repeat(60_000));
    let run = mesh.send(&message).await;
    assert_eq!(said(&mesh, &run).await.matches("chunk-").count(), 7, "the model read it to its last word");
    assert!(asked(&mesh).contains(&("user".to_owned(), message)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_conversation_reaches_the_model() {
    let mesh = small().start().await;
    let thread = mesh.thread().await;
    let messages: Vec<_> = (1..=4).map(|turn| format!("turn {turn} {} many:{turn}", "long ".repeat(16_000))).collect();
    for (turn, message) in (1..).zip(&messages) {
        let run = mesh.send_on(thread, message).await;
        assert_eq!(said(&mesh, &run).await.matches("chunk-").count(), turn);
    }
    let users: Vec<_> = asked(&mesh).into_iter().filter(|(role, _)| role == "user").map(|(_, content)| content).collect();
    assert!(users == messages, "all of it, in order: {:?}", users.iter().map(String::len).collect::<Vec<_>>());
}

/// A tool that answers every call with the largest result there is, and how often it was called.
async fn wordy_tool() -> (Tool, Arc<AtomicUsize>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let task = tokio::spawn(async move {
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {TOOL_RESULT_BYTES_MAX}\r\n\r\n");
        let answer = head + &"r".repeat(TOOL_RESULT_BYTES_MAX);
        loop {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut request = Vec::new();
            while !request.ends_with(b"{}") && socket.read_buf(&mut request).await.expect("a request") > 0 {}
            counted.fetch_add(1, Ordering::SeqCst);
            socket.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    let kind = ToolKind::Http { url, schema: r#"{"type":"object"}"#.into(), idempotent: true };
    let tool = Tool { name: "wordy".into(), description: String::new(), policy: ToolPolicy::Allow, kind };
    (tool, calls, AbortOnDropHandle::new(task))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_large_results_is_gone_on_from_and_its_answer_does_not_close_the_thread() {
    let mut mesh = mesh().start().await;
    let (tool, calls, _serving) = wordy_tool().await;
    let run = ask(&mesh, vec![tool], &format!("{} slow:60x50", "tool:wordy{} ".repeat(5))).await;
    let viewer = mesh.watch(1, &run).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    viewer.to_end().await.assert_state(StateName::Completed);
    assert!(mesh.run(&run).await.fence > 1, "a second attempt was made");
    assert_eq!(calls.load(Ordering::SeqCst), 5, "what was journaled is not done again");
    // The answer, with its five results, is part of the conversation now.
    let next = mesh.send_on(run.thread, "many:3").await;
    assert_eq!(said(&mesh, &next).await.matches("chunk-").count(), 3);
}

/// What the command line prints of a mesh.
fn printed(mesh: &Mesh, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runmesh"));
    let output = command.args(["--address", &mesh.gateway_url(0)]).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_4_mib_read_all_of_a_large_run() {
    let mesh = small().start().await;
    let (tool, _, _serving) = wordy_tool().await;
    let run = ask(&mesh, vec![tool], &format!("{} many:1", "tool:wordy{} ".repeat(5))).await;
    assert!(mesh.ended(&run).await.reason.is_empty());
    let id = run.id.to_string();

    let history = mesh.history(&run).await;
    assert_eq!(history.steps.iter().map(|step| step.calls.len()).collect::<Vec<_>>(), [5, 0]);
    let whole = "r".repeat(TOOL_RESULT_BYTES_MAX);
    assert!(history.steps[0].calls.iter().all(|call| call.content == whole), "every result, to its end");
    assert!(history.transitions.last().is_some_and(|last| last.version == history.run.as_ref().expect("the run").version));

    let messages = mesh.client(0).messages(run.thread).await.expect("the conversation");
    assert_eq!(messages.len(), 2);
    // The message has the beginning of each, and says where all of it is.
    let cut = format!("{}\n[cut: the run's journal has all {TOOL_RESULT_BYTES_MAX} bytes]", &whole[..ANSWER_RESULT_CHARS_MAX]);
    let results = messages[1].parts.iter().filter(|part| matches!(part, Part::ToolResult { content, .. } if *content == cut));
    assert_eq!(results.count(), 5);

    // By hand: a first page, and that there is more.
    let api = Api::of(&mesh);
    let page = api.ok("GetRunHistory", json!({"run_id": id, "include_steps": true})).await;
    assert_eq!(page["steps"].as_array().map(Vec::len), Some(1));
    assert_ne!(page["next_page_token"].as_str().unwrap_or_default(), "");
    let page = api.ok("ListMessages", json!({"thread_id": run.thread.to_string(), "page_size": 1_000})).await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(2), "the question and the answer, whose results are cut");

    let shown = printed(&mesh, &["show", &id, "--steps"]);
    assert_eq!((shown.matches("→ wordy").count(), shown.matches("✓ rrr").count()), (5, 5), "{shown}");
    let shown: Value = serde_json::from_str(&printed(&mesh, &["--json", "show", &id, "--steps"])).expect("json");
    let calls = shown["steps"][0]["calls"].as_array().expect("calls");
    assert!(calls.len() == 5 && calls.iter().all(|call| call["content"] == whole.as_str()));
}
