//! What models and tenants' schemas can do to a run, over the whole mesh.

use crate::harness::small;
use crate::tools::{ask, clock};
use runmesh_client::SendOptions;
use runmesh_domain::agent::{AgentSpec, Tool, ToolKind, ToolPolicy};
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::Run;

fn tool(url: String, schema: &str) -> Tool {
    let kind = ToolKind::Http { url, schema: schema.to_owned(), idempotent: true };
    Tool { name: "echo".into(), description: String::new(), policy: ToolPolicy::Allow, kind }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nul_in_an_error_frame_ends_the_run_at_its_first_attempt() {
    let mesh = small().start().await;
    let run = ask(&mesh, vec![clock()], r#"frame:{"error":{"message":"bad \u0000 byte"}}"#).await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Failed);
    let history = mesh.history(&run).await;
    let ended = history.run.expect("a run");
    assert_eq!(ended.reason, "MODEL_UNAVAILABLE", "{ended:?}");
    assert!(ended.detail.contains("bad \u{fffd} byte"), "{}", ended.detail);
    assert_eq!(mesh.model().calls(), 3, "one attempt of three tries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_tool_name_poisons_neither_its_turn_nor_the_next() {
    let mesh = small().start().await;
    let url = format!("{}/echo", mesh.model().tools_url());
    let run = ask(&mesh, vec![tool(url, "{}")], "signed tool:functions.echo{}").await;
    mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Completed);
    let steps = mesh.history(&run).await.steps;
    assert!(steps[0].calls[0].content.contains("functions.echo"), "{steps:?}");
    let sent = mesh.client(0).send(run.thread, "and again", SendOptions::default()).await.expect("accepted");
    let next = Run { thread: run.thread, id: sent.run, cursor: sent.cursor };
    mesh.attach(0, &next).await.assert_exact().assert_state(StateName::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_reach_tools_and_readers_digit_for_digit() {
    let mesh = small().start().await;
    let url = format!("{}/echo", mesh.model().tools_url());
    let exact = r#"{"id":9007199254740993,"n":-0,"user":725653563933458433,"x":1e400}"#;
    let run = ask(&mesh, vec![tool(url, "{}")], &format!("tool:echo{exact}")).await;
    mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Completed);
    let call = mesh.history(&run).await.steps[0].calls[0].clone();
    assert_eq!(call.arguments_json, exact);
    assert_eq!(call.content, format!(r#"{{"echo":{exact},"n":1}}"#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_stands_for_too_much_is_refused_with_its_field() {
    let mesh = small().start().await;
    let levels =
        (0..60).map(|n| format!(r##""d{n}":{{"anyOf":[{{"$ref":"#/$defs/d{m}"}},{{"$ref":"#/$defs/d{m}"}}]}},"##, m = n + 1));
    let doubling = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}"d60":true}}}}"##, levels.collect::<String>());
    for (schema, words) in [
        (doubling.as_str(), "2000 nodes"),
        (r##"{"$ref":"#"}"##, "leads back to itself"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "another document"),
    ] {
        let spec = AgentSpec { tools: vec![tool("https://example.com/".into(), schema)], ..AgentSpec::default() };
        let refused = mesh.client(0).apply_agent("heavy", spec).await.expect_err("refused").to_string();
        assert!(refused.contains("parameters_schema_json") && refused.contains(words), "{refused}");
    }
}
