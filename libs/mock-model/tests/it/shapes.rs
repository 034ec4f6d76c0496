//! The shape of requests and responses, paths, and what is refused.

use runmesh_mock_model::MockModel;
use serde_json::json;

use crate::client::{ask, ask_whole, body_of, chat, request};

#[tokio::test]
async fn a_whole_answer_has_the_shape_of_a_completion() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask_whole(mock.address(), "many:2").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let completion = reply.json();
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["model"], "m-1");
    assert_eq!(completion["choices"][0]["index"], 0);
    assert_eq!(completion["choices"][0]["message"]["role"], "assistant");
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    assert_eq!(completion["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn a_streamed_answer_has_the_shape_of_chunks() {
    let mock = MockModel::start().await.unwrap();
    let mut body = body_of("many:2", true);
    body["model"] = json!("odd \"name\"");
    let events = chat(mock.address(), &body).await.events();
    assert_eq!(events.len(), 4);
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["model"], "odd \"name\"");
        assert!(event["created"].as_u64().unwrap() > 0);
        assert_eq!(event["choices"][0]["index"], 0);
    }
}

#[tokio::test]
async fn paths_work_with_and_without_version() {
    let mock = MockModel::start().await.unwrap();
    let body = body_of("many:1", true).to_string();
    for prefix in ["", "/v1"] {
        let chat = request(mock.address(), "POST", &format!("{prefix}/chat/completions"), &[], &body).await;
        assert_eq!(chat.chunks().len(), 1);
        let models = request(mock.address(), "GET", &format!("{prefix}/models"), &[], "").await.json();
        assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("mock")));
    }
    let absent = request(mock.address(), "GET", "/v2/models", &[], "").await;
    assert_eq!((absent.status, absent.json()["error"]["message"].is_string()), (404, true));
}

#[tokio::test]
async fn hints_count_in_the_last_user_message_only() {
    let mock = MockModel::start().await.unwrap();
    let messages = json!([
        {"role": "system", "content": "many:9"},
        {"role": "user", "content": "fail:503* many:8"},
        {"role": "assistant", "content": "many:7"},
        {"role": "user", "content": [{"type": "text", "text": "here:"}, {"type": "text", "text": "many:3"}]},
        {"role": "assistant", "content": "many:6"},
    ]);
    let reply = chat(mock.address(), &json!({"stream": true, "messages": messages})).await;
    assert_eq!((reply.status, reply.chunks().len()), (200, 3));
}

#[tokio::test]
async fn a_request_without_a_user_message_gets_prose() {
    let mock = MockModel::start().await.unwrap();
    let reply = chat(mock.address(), &json!({"messages": []})).await;
    assert!(reply.json()["choices"][0]["message"]["content"].as_str().unwrap().contains("Three things"));
}

#[tokio::test]
async fn a_malformed_request_is_refused_and_counted() {
    let mock = MockModel::start().await.unwrap();
    for body in ["", "{", "{}", r#"{"messages": 1}"#] {
        let reply = request(mock.address(), "POST", "/v1/chat/completions", &[], body).await;
        assert_eq!((reply.status, reply.json()["error"]["type"].as_str()), (400, Some("invalid_request_error")));
    }
    assert_eq!(mock.calls(), 4);
}

#[tokio::test]
async fn the_log_shows_what_was_sent() {
    let mock = MockModel::start().await.unwrap();
    let body = body_of("hello", true);
    let headers = [("authorization", "Bearer any"), ("x-runmesh-run", "run_1")];
    request(mock.address(), "POST", "/v1/chat/completions", &headers, &body.to_string()).await;
    ask(mock.address(), "second").await;
    let received = mock.received();
    assert_eq!((received.len(), mock.calls()), (2, 2));
    assert_eq!(received[0].body(), &body);
    assert_eq!(received[0].header("authorization"), Some("Bearer any"));
    assert_eq!(received[1].header("authorization"), None);
    assert_eq!(received[1].body()["messages"][0]["content"], "second");
}
