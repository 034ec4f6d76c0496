//! Tools behind URLs, against the mock model's tool target.

use crate::harness::{Assignment, Bench, http_tool, install_tls};
use runmesh_agent::tools::{ToolCall, ToolOutcome};
use runmesh_agent::{Toolbox, ToolsConfig};
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind};
use runmesh_domain::limits::TOOL_RESULT_BYTES_MAX;
use runmesh_mock_model::MockModel;
use runmesh_wire::pb::worker::finish_request::Outcome;
use runmesh_wire::pb::worker::journal_entry::Entry;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

async fn call(config: ToolsConfig, tool: Tool, arguments: &str, timeout_ms: u64) -> ToolOutcome {
    install_tls();
    let mut spec = AgentSpec { tools: vec![tool], ..AgentSpec::default() };
    spec.limits.tool_timeout_ms = timeout_ms;
    let call = ToolCall { name: "t".into(), arguments: arguments.into(), idempotency_key: "key-1".into() };
    Toolbox::new(config).call(&spec, &call).await
}

async fn here(tool: Tool, arguments: &str) -> ToolOutcome {
    call(ToolsConfig { private_addresses: true }, tool, arguments, 10_000).await
}

#[tokio::test]
async fn arguments_go_out_canonical_under_the_calls_key() {
    let model = MockModel::start().await.unwrap();
    let outcome = here(http_tool("t", format!("{}/echo", model.tools_url()), false), r#"{ "b":1, "a":2 }"#).await;
    assert_eq!(outcome, ToolOutcome { content: r#"{"echo":{"a":2,"b":1},"n":1}"#.into(), is_error: false });
    assert_eq!(model.effects("key-1"), 1);
}

#[tokio::test]
async fn arguments_that_do_not_fit_never_leave() {
    let model = MockModel::start().await.unwrap();
    let mut tool = http_tool("t", format!("{}/echo", model.tools_url()), false);
    let ToolKind::Http { schema, .. } = &mut tool.kind else { panic!("an http tool") };
    *schema = r#"{"type":"object","required":["city"]}"#.into();
    let outcome = here(tool.clone(), r#"{"town":"x"}"#).await;
    assert!(outcome.is_error && outcome.content.contains("city"), "{outcome:?}");
    let outcome = here(tool, "{not json").await;
    assert!(outcome.is_error && outcome.content.contains("not valid JSON"), "{outcome:?}");
    assert_eq!(model.effects_total(), 0);
}

#[tokio::test]
async fn errors_are_told_with_their_status() {
    let model = MockModel::start().await.unwrap();
    let outcome = here(http_tool("t", format!("{}/fail/503", model.tools_url()), false), "{}").await;
    assert!(outcome.is_error && outcome.content.starts_with("the tool answered 503"), "{outcome:?}");
    assert_eq!(model.effects_total(), 1, "not tried again");
}

#[tokio::test]
async fn a_slow_tool_meets_its_deadline() {
    let model = MockModel::start().await.unwrap();
    let tool = http_tool("t", format!("{}/slow/60000", model.tools_url()), false);
    let outcome = call(ToolsConfig { private_addresses: true }, tool, "{}", 200).await;
    assert!(outcome.is_error && outcome.content.contains("may have run"), "{outcome:?}");
}

#[tokio::test]
async fn long_results_are_cut() {
    let model = MockModel::start().await.unwrap();
    let arguments = format!(r#"{{"x":"{}"}}"#, "y".repeat(TOOL_RESULT_BYTES_MAX));
    let outcome = here(http_tool("t", format!("{}/echo", model.tools_url()), false), &arguments).await;
    assert!(!outcome.is_error, "{}", &outcome.content[..200.min(outcome.content.len())]);
    assert!(outcome.content.len() <= TOOL_RESULT_BYTES_MAX && outcome.content.ends_with("too long]"));
}

#[tokio::test]
async fn private_addresses_are_out_of_reach_by_default() {
    let model = MockModel::start().await.unwrap();
    let literal = http_tool("t", format!("{}/echo", model.tools_url()), false);
    let outcome = call(ToolsConfig::default(), literal, "{}", 10_000).await;
    assert!(outcome.is_error && outcome.content.contains("not a public address"), "{outcome:?}");
    let name = http_tool("t", format!("http://localhost:{}/tools/echo", model.address().port()), false);
    let outcome = call(ToolsConfig::default(), name, "{}", 10_000).await;
    assert!(outcome.is_error, "{outcome:?}");
    assert_eq!(model.effects_total(), 0);
}

/// A tool that answers `calls` calls with `bytes` of text each, all at the same time.
async fn wordy_tool(calls: usize, bytes: usize) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut sockets = Vec::new();
        while sockets.len() < calls {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0, "a whole request");
            }
            sockets.push(socket);
        }
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
        let answer = head + &"r".repeat(bytes);
        futures::future::join_all(sockets.iter_mut().map(|socket| socket.write_all(answer.as_bytes()))).await;
    });
    (url, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn many_long_results_are_journaled_whole() {
    for (calls, bytes) in [(6, 700 << 10), (2, TOOL_RESULT_BYTES_MAX)] {
        let (url, _tool) = wordy_tool(calls, bytes).await;
        let mut bench = Bench::new().await;
        bench.assign(Assignment::of(&"tool:wordy{} ".repeat(calls)).tool(http_tool("wordy", url, true)));
        bench.start();
        let finish = bench.mesh.finished().await;
        assert_eq!((finish.outcome(), finish.detail.as_str()), (Outcome::Completed, ""));
        let state = bench.mesh.state();
        let whole = |entry: &&Entry| matches!(entry, Entry::CallDone(done) if done.content.len() == bytes && !done.is_error);
        assert_eq!(state.entries().into_iter().filter(whole).count(), calls);
    }
}
