//! AgentService.

use super::{Case, NOT_FOUND, UNKNOWN_AGENT, but, case, check_all, invalid, keys, no, pages};
use crate::harness::small;
use crate::rpc::Api;
use serde_json::{Value, json};
use tonic::Code;

/// A definition with something wrong in it, and the field that says so.
fn specs() -> Vec<(&'static str, Value, &'static str)> {
    let http = |url: &str, schema: &str| json!({"name": "x", "http": {"url": url, "parameters_schema_json": schema}});
    let tools = |tool: Value| json!({"tools": [tool]});
    let many: Vec<Value> = (0..129).map(|n| json!({"name": format!("t{n}"), "http": {"url": "http://x/"}})).collect();
    vec![
        ("long instructions", json!({"instructions": "i".repeat((256 << 10) + 1)}), "spec.instructions"),
        ("NUL in instructions", json!({"instructions": "\0"}), "spec.instructions"),
        ("NUL in the model", json!({"model": "\0"}), "spec.model"),
        ("a hot model", json!({"parameters": {"temperature": 2.1}}), "spec.parameters.temperature"),
        ("a temperature that is none", json!({"parameters": {"temperature": "NaN"}}), "spec.parameters.temperature"),
        ("a wide nucleus", json!({"parameters": {"top_p": 1.1}}), "spec.parameters.top_p"),
        ("no output", json!({"parameters": {"max_output_tokens": 0}}), "spec.parameters.max_output_tokens"),
        ("less output", json!({"parameters": {"max_output_tokens": -1}}), "spec.parameters.max_output_tokens"),
        ("many steps", json!({"limits": {"max_steps": 1_001}}), "spec.limits.max_steps"),
        ("negative steps", json!({"limits": {"max_steps": -1}}), "spec.limits.max_steps"),
        ("a small window", json!({"limits": {"context_window_tokens": 999}}), "spec.limits.context_window_tokens"),
        ("an idle time of nothing", json!({"limits": {"model_idle_timeout": "0s"}}), "spec.limits.model_idle_timeout"),
        ("a negative time", json!({"limits": {"tool_timeout": "-1s"}}), "spec.limits.tool_timeout"),
        ("a long time", json!({"limits": {"tool_timeout": "3601s"}}), "spec.limits.tool_timeout"),
        ("a call longer than an attempt", json!({"limits": {"progress_timeout": "700s"}}), "spec.limits.progress_timeout"),
        ("an attempt of days", json!({"limits": {"progress_timeout": "86401s"}}), "spec.limits.progress_timeout"),
        ("a zone by name", json!({"time_zone": "Europe/Berlin"}), "spec.time_zone"),
        ("a later version's enum", json!({"on_unknown_outcome": 99}), "spec.on_unknown_outcome"),
        ("many tools", json!({"tools": many}), "spec.tools"),
        ("a tool of no kind", tools(json!({"name": "x"})), "spec.tools[0]"),
        ("a tool of a later version's policy", tools(json!({"name": "x", "policy": 99})), "spec.tools[0].policy"),
        ("a tool without a name", tools(json!({"http": {"url": "http://x/"}})), "spec.tools[0].name"),
        ("an unknown built-in tool", tools(json!({"name": "x", "builtin": {}})), "spec.tools[0].name"),
        ("a URL of another scheme", tools(http("ftp://x/", "")), "spec.tools[0].http.url"),
        ("a URL without a host", tools(http("http:///x", "")), "spec.tools[0].http.url"),
        ("a schema that is no JSON", tools(http("http://x/", "{")), "spec.tools[0].http.parameters_schema_json"),
        ("a schema that is no object", tools(http("http://x/", "[]")), "spec.tools[0].http.parameters_schema_json"),
        ("a name twice", json!({"tools": [http("http://x/", ""), http("http://y/", "")]}), "spec.tools[1].name"),
    ]
}

fn create() -> Vec<Case> {
    let good = json!({"idempotency_key": "k", "name": "a", "spec": {}});
    let named = |name: &str| but(&good, "name", json!(name));
    let mut cases = keys("CreateAgent", &good);
    cases.extend([
        case("CreateAgent", "no name", named(""), invalid("name")),
        case("CreateAgent", "a bad name", named("A b"), invalid("name")),
        case("CreateAgent", "a long name", named(&"a".repeat(65)), invalid("name")),
        case("CreateAgent", "a taken name", named("default"), no(Code::AlreadyExists, "NAME_TAKEN")),
        case("CreateAgent", "no spec", json!({"idempotency_key": "k", "name": "a"}), invalid("spec")),
    ]);
    let bad = specs().into_iter().map(|(what, spec, field)| case("CreateAgent", what, but(&good, "spec", spec), invalid(field)));
    cases.extend(bad);
    cases
}

/// The rows that every method has that takes an agent by id or name.
fn named(method: &'static str, good: &Value) -> Vec<Case> {
    vec![
        case(method, "no agent", but(good, "agent", json!("")), invalid("agent")),
        case(method, "a long name", but(good, "agent", json!("a".repeat(65))), invalid("agent")),
        case(method, "NUL", but(good, "agent", json!("a\0")), invalid("agent")),
        case(method, "an unknown name", but(good, "agent", json!("nobody")), NOT_FOUND),
        case(method, "an unknown id", but(good, "agent", json!(UNKNOWN_AGENT)), NOT_FOUND),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = create();
    cases.extend(named("GetAgent", &json!({})));
    cases.extend(pages("ListAgents", &json!({})));
    let delete = json!({"idempotency_key": "k", "agent": "default"});
    cases.extend(keys("DeleteAgent", &delete));
    cases.extend(named("DeleteAgent", &delete));
    let update = json!({"idempotency_key": "k", "agent": "default", "spec": {"model": "other"}});
    cases.extend(keys("UpdateAgent", &update));
    cases.extend(named("UpdateAgent", &update));
    cases.extend([
        case("UpdateAgent", "no spec", json!({"idempotency_key": "k", "agent": "default"}), invalid("spec")),
        case("UpdateAgent", "a bad spec", but(&update, "spec", json!({"time_zone": "x"})), invalid("spec.time_zone")),
        case("UpdateAgent", "a negative version", but(&update, "expected_version", json!(-1)), invalid("expected_version")),
        case("UpdateAgent", "an old version", but(&update, "expected_version", json!(7)), no(Code::Aborted, "CONFLICT")),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents() {
    let mesh = small().without_workers().start().await;
    check_all(&Api::of(&mesh), cases()).await;
}
