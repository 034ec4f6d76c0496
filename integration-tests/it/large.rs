//! Conversations and journals that are too large for one message of the mesh: the model is told all of them.

use crate::harness::{mesh, small};
use crate::tools::ask;
use runmesh_domain::agent::{Tool, ToolKind, ToolPolicy};
use runmesh_domain::limits::TOOL_RESULT_BYTES_MAX;
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Mesh, Run};
use serde_json::Value;
use std::net::Ipv4Addr;
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
