//! Answers that call tools, and answers to their results.

use std::collections::BTreeMap;
use std::time::Duration;

use runmesh_mock_model::MockModel;
use serde_json::{Value, json};

use crate::client::{Reply, ask, ask_whole, chat};

/// The calls of a stream put together: index to (id, name, arguments, deltas).
fn joined(reply: &Reply) -> BTreeMap<u64, (String, String, String, usize)> {
    let mut calls: BTreeMap<u64, (String, String, String, usize)> = BTreeMap::new();
    for delta in reply.deltas() {
        for part in delta["tool_calls"].as_array().into_iter().flatten() {
            let call = calls.entry(part["index"].as_u64().unwrap()).or_default();
            if let Some(id) = part["id"].as_str() {
                call.0 = id.to_owned();
            }
            call.1.push_str(part["function"]["name"].as_str().unwrap_or_default());
            call.2.push_str(part["function"]["arguments"].as_str().unwrap());
            call.3 += 1;
        }
    }
    calls
}

/// The conversation after `message` called `tools` and each answered.
fn after_results(message: &str, tools: &[(&str, &str)], stream: bool) -> Value {
    let name = |index: usize| format!("call_{index}");
    let calls: Vec<Value> = tools
        .iter()
        .enumerate()
        .map(|(i, (tool, _))| json!({"id": name(i), "type": "function", "function": {"name": tool, "arguments": "{}"}}))
        .collect();
    let mut messages =
        vec![json!({"role": "user", "content": message}), json!({"role": "assistant", "content": null, "tool_calls": calls})];
    for (i, (_, result)) in tools.iter().enumerate() {
        messages.push(json!({"role": "tool", "tool_call_id": name(i), "content": result}));
    }
    json!({"model": "m-1", "stream": stream, "messages": messages})
}

#[tokio::test]
async fn a_tool_hint_makes_a_call_in_pieces() {
    let mock = MockModel::start().await.unwrap();
    let arguments = r#"{"city": "Zürich", "days": [1, 2, 3], "why": "a \"reason\""}"#;
    let reply = ask(mock.address(), &format!("please tool:weather{arguments} now")).await;
    let calls = joined(&reply);
    assert_eq!(calls.len(), 1);
    let (id, name, joined_arguments, deltas) = &calls[&0];
    assert_eq!((id.as_str(), name.as_str(), joined_arguments.as_str()), ("call_1", "weather", arguments));
    assert!(*deltas > 2, "{deltas}");
    assert_eq!(reply.finish_reasons(), ["tool_calls"]);
    assert_eq!(reply.text(), "");
    assert!(reply.is_done());
}

#[tokio::test]
async fn several_tool_hints_make_parallel_calls() {
    let mock = MockModel::start().await.unwrap();
    let message = r#"tool:a{"n":1} tool:b{} tool:a{"n":2} slow:5x10"#;
    let calls: Vec<_> = joined(&ask(mock.address(), message).await).into_values().collect();
    let seen: Vec<(&str, &str, &str)> = calls.iter().map(|(id, name, json, _)| (&**id, &**name, &**json)).collect();
    assert_eq!(seen, [("call_1", "a", r#"{"n":1}"#), ("call_2", "b", "{}"), ("call_3", "a", r#"{"n":2}"#)]);
    // A server never gives an id twice.
    assert_eq!(joined(&ask(mock.address(), message).await)[&0].0, "call_4");
}

#[tokio::test]
async fn calls_that_are_not_streamed_come_whole() {
    let mock = MockModel::start().await.unwrap();
    let choice = ask_whole(mock.address(), r#"tool:a{"n":1} tool:b"#).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let expected = json!([call("call_1", "a", r#"{"n":1}"#), call("call_2", "b", "{}")]);
    assert_eq!(choice["message"]["tool_calls"], expected);
}

#[tokio::test]
async fn ask_asks_one_question() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "ask").await;
    let calls = joined(&reply);
    assert_eq!((calls.len(), calls[&0].1.as_str()), (1, "ask_user"));
    let arguments: Value = serde_json::from_str(&calls[&0].2).unwrap();
    let question = &arguments["questions"][0];
    assert!(!question["question"].as_str().unwrap().is_empty());
    assert_eq!(question["options"].as_array().unwrap().len(), 2);
    assert_eq!(reply.finish_reasons(), ["tool_calls"]);
}

#[tokio::test]
async fn after_results_it_names_them_shortly() {
    let mock = MockModel::start().await.unwrap();
    let long = "x".repeat(500);
    let tools = [("weather", "sunny"), ("log", long.as_str())];
    let reply = chat(mock.address(), &after_results("tool:weather{} tool:log{}", &tools, true)).await;
    let text = reply.text();
    assert!(text.contains("weather answered: sunny"), "{text}");
    assert!(text.contains(&"x".repeat(200)) && !text.contains(&"x".repeat(201)), "{text}");
    assert_eq!(reply.finish_reasons(), ["stop"]);
    let whole = chat(mock.address(), &after_results("ask", &[("ask_user", "the first")], false)).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "The tool ask_user answered: the first");
}

#[tokio::test]
async fn after_results_the_other_hints_shape_the_answer() {
    let mock = MockModel::start().await.unwrap();
    let message = "tool:x{} slow:5x20 len";
    let first = ask(mock.address(), message).await;
    assert_eq!((first.finish_reasons(), joined(&first).len()), (vec!["tool_calls".to_owned()], 1));
    let second = chat(mock.address(), &after_results(message, &[("x", "{}")], true)).await;
    assert_eq!((second.chunks().len(), joined(&second).len()), (5, 0));
    assert!(second.spread() >= Duration::from_millis(70), "{:?}", second.spread());
    assert_eq!(second.finish_reasons(), ["length"]);
}

#[tokio::test]
async fn a_message_after_the_results_has_hints_of_its_own() {
    let mock = MockModel::start().await.unwrap();
    let mut body = after_results("tool:x{}", &[("x", "{}")], true);
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "tool:y{}"}));
    assert_eq!(joined(&chat(mock.address(), &body).await)[&0].1, "y");
}

#[tokio::test]
async fn quirky_calls_repeat_their_id() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), r#"tool:x{"a":1} quirks"#).await;
    let ids: Vec<Value> = reply.deltas().iter().filter_map(|delta| Some(delta["tool_calls"].get(0)?["id"].clone())).collect();
    assert!(ids.len() > 2 && ids.iter().all(|id| id == "call_1"), "{ids:?}");
    assert_eq!(joined(&reply)[&0].2, r#"{"a":1}"#);
}
