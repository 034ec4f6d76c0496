//! Calls that fail and connections that drop, once or for ever.

use runmesh_mock_model::MockModel;
use serde_json::json;

use crate::client::{ask, ask_whole, body_of, chat, request};

#[tokio::test]
async fn fail_is_for_the_first_call_of_the_message() {
    let mock = MockModel::start().await.unwrap();
    let message = "fail:503 many:3";
    let first = ask(mock.address(), message).await;
    assert_eq!(first.status, 503);
    assert_eq!(first.json()["error"]["type"], "server_error");
    assert!(first.json()["error"]["message"].as_str().unwrap().contains("503"));
    for _ in 0..2 {
        let later = ask(mock.address(), message).await;
        assert_eq!((later.status, later.chunks().len()), (200, 3));
    }
    assert_eq!(mock.calls(), 3);
}

#[tokio::test]
async fn the_call_after_a_tool_result_is_the_same_message() {
    let mock = MockModel::start().await.unwrap();
    let message = "fail:500 tool:x{}";
    assert_eq!(ask(mock.address(), message).await.status, 500);
    let mut body = body_of(message, true);
    body["messages"].as_array_mut().unwrap().push(json!({"role": "tool", "content": "done"}));
    let reply = chat(mock.address(), &body).await;
    assert_eq!((reply.status, reply.text().contains("done")), (200, true));
}

#[tokio::test]
async fn another_run_user_or_history_is_another_message() {
    let mock = MockModel::start().await.unwrap();
    let plain = body_of("fail:503 hello", true);
    let mut of_user = plain.clone();
    of_user["user"] = json!("u-1");
    let mut with_history = plain.clone();
    with_history["messages"].as_array_mut().unwrap().insert(0, json!({"role": "system", "content": "s"}));
    for body in [&plain, &of_user, &with_history] {
        assert_eq!(chat(mock.address(), body).await.status, 503);
        assert_eq!(chat(mock.address(), body).await.status, 200);
    }
    for run in ["run_1", "run_2"] {
        let headers = [("x-runmesh-run", run)];
        for status in [503, 200] {
            let reply = request(mock.address(), "POST", "/v1/chat/completions", &headers, &plain.to_string()).await;
            assert_eq!(reply.status, status, "{run}");
        }
    }
}

#[tokio::test]
async fn a_star_fails_every_call() {
    let mock = MockModel::start().await.unwrap();
    for _ in 0..4 {
        assert_eq!(ask(mock.address(), "fail:401* hello").await.status, 401);
    }
    assert_eq!(ask_whole(mock.address(), "fail:401* hello").await.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "fail:429 hello").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
    assert_eq!(ask(mock.address(), "fail:503 hello").await.header("retry-after"), None);
}

#[tokio::test]
async fn cut_drops_the_connection_after_its_chunks() {
    let mock = MockModel::start().await.unwrap();
    let message = "cut:3 many:10";
    let first = ask(mock.address(), message).await;
    assert_eq!((first.status, first.chunks().len(), first.complete), (200, 3, false));
    assert!(first.finish_reasons().is_empty() && !first.is_done());
    let second = ask(mock.address(), message).await;
    assert_eq!((second.chunks().len(), second.complete, second.is_done()), (10, true, true));
}

#[tokio::test]
async fn cut_works_for_paced_chunks_prose_and_calls() {
    let mock = MockModel::start().await.unwrap();
    for (message, chunks) in [("cut:2* slow:5x10", 2), ("cut:4* hello", 4), ("cut:0* many:5", 0), ("cut:9* many:5", 5)] {
        for _ in 0..2 {
            let reply = ask(mock.address(), message).await;
            assert_eq!((reply.chunks().len(), reply.complete), (chunks, false), "{message}");
            assert!(reply.finish_reasons().is_empty(), "{message}");
        }
    }
    let calls = ask(mock.address(), r#"cut:2 tool:x{"abc":1}"#).await;
    assert_eq!((calls.deltas().len(), calls.complete), (3, false));
    assert!(calls.finish_reasons().is_empty());
}

#[tokio::test]
async fn cut_of_a_long_stream_keeps_every_chunk_before_it() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "many:5000 cut:4321").await;
    assert_eq!((reply.chunks().len(), reply.complete), (4321, false));
}

#[tokio::test]
async fn cut_of_a_whole_answer_ends_it_in_the_middle() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask_whole(mock.address(), "cut:1 hello").await;
    assert!(!reply.complete && !reply.body.is_empty());
    assert!(serde_json::from_str::<serde_json::Value>(&reply.body).is_err());
    assert!(ask_whole(mock.address(), "cut:1 hello").await.json()["choices"][0].is_object());
}

#[tokio::test]
async fn a_failure_comes_before_a_cut_and_each_is_spent_apart() {
    let mock = MockModel::start().await.unwrap();
    let message = "fail:503 fail:429 cut:1 many:4";
    let mut seen = Vec::new();
    for _ in 0..4 {
        let reply = ask(mock.address(), message).await;
        seen.push((reply.status, reply.status == 200 && reply.is_done()));
    }
    assert_eq!(seen, [(503, false), (429, false), (200, false), (200, true)]);
}
