//! Tools behind URLs, against the mock model's tool target.

use crate::harness::{http_tool, install_tls};
use runmesh_agent::tools::{ToolCall, ToolOutcome};
use runmesh_agent::{Toolbox, ToolsConfig};
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind};
use runmesh_domain::limits::TOOL_RESULT_BYTES_MAX;
use runmesh_mock_model::MockModel;

async fn call(config: ToolsConfig, tool: Tool, arguments: &str, timeout_ms: u64) -> ToolOutcome {
    install_tls();
    let mut spec = AgentSpec { tools: vec![tool], ..AgentSpec::default() };
    spec.limits.tool_timeout_ms = timeout_ms;
    let call = ToolCall { name: "t".into(), arguments: arguments.into(), idempotency_key: "key-1".into() };
    Toolbox::new(config).unwrap().call(&spec, &call).await
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
