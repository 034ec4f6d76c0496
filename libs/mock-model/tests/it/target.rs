//! The target for tools, and the count of what arrived.

use std::time::{Duration, Instant};

use runmesh_mock_model::MockModel;
use serde_json::{Value, json};

use crate::client::{Reply, request};

async fn post(mock: &MockModel, path: &str, key: Option<&str>, body: &str) -> Reply {
    let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    request(mock.address(), "POST", path, &headers, body).await
}

async fn effects(mock: &MockModel, query: &str) -> Value {
    request(mock.address(), "GET", &format!("/tools/effects{query}"), &[], "").await.json()
}

#[tokio::test]
async fn echo_counts_the_calls_of_each_key() {
    let mock = MockModel::start().await.unwrap();
    let body = r#"{"b": [1, null], "a": "ä"}"#;
    for n in 1..=3 {
        let reply = post(&mock, "/tools/echo", Some("k-1"), body).await;
        assert_eq!(reply.json(), json!({"echo": {"b": [1, null], "a": "ä"}, "n": n}));
    }
    assert_eq!(post(&mock, "/tools/echo", Some("k-2"), "").await.json(), json!({"echo": null, "n": 1}));
    assert_eq!(post(&mock, "/tools/echo", None, "1").await.json()["n"], 1);
    assert_eq!(effects(&mock, "?key=k-1").await, json!({"key": "k-1", "n": 3}));
    assert_eq!(effects(&mock, "?key=never").await["n"], 0);
    assert_eq!(effects(&mock, "").await, json!({"n": 5, "keys": 3, "most": 3}));
    assert_eq!((mock.effects("k-1"), mock.effects("k-2"), mock.effects("never")), (3, 1, 0));
    assert_eq!((mock.effects_total(), mock.effects_most(), mock.calls()), (5, 3, 0));
}

#[tokio::test]
async fn slow_answers_after_its_wait_but_counts_at_once() {
    let mock = MockModel::start().await.unwrap();
    let start = Instant::now();
    let slow = post(&mock, "/tools/slow/300", Some("k"), r#"{"x":1}"#);
    let counted = async {
        while mock.effects("k") == 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
        start.elapsed()
    };
    let (reply, counted) = tokio::join!(slow, counted);
    let answered = start.elapsed();
    assert_eq!(reply.json(), json!({"echo": {"x": 1}, "n": 1, "slept_ms": 300}));
    assert!(answered >= Duration::from_millis(300) && counted < answered, "{counted:?} {answered:?}");
    assert_eq!(post(&mock, "/tools/slow/600001", Some("k"), "").await.status, 400);
}

#[tokio::test]
async fn fail_fails_and_counts() {
    let mock = MockModel::start().await.unwrap();
    for (status, n) in [(503, 1), (404, 2)] {
        let reply = post(&mock, &format!("/tools/fail/{status}"), Some("k"), "{}").await;
        assert_eq!((reply.status, reply.json()["n"].as_u64()), (status, Some(n)));
    }
    for wrong in ["200", "99", "abc"] {
        assert_eq!(post(&mock, &format!("/tools/fail/{wrong}"), Some("k"), "").await.status, 400);
    }
    assert_eq!(mock.effects("k"), 2);
}

#[tokio::test]
async fn bad_bodies_and_long_keys_are_refused() {
    let mock = MockModel::start().await.unwrap();
    assert_eq!(post(&mock, "/tools/echo", Some("k"), "{").await.status, 400);
    assert_eq!(mock.effects("k"), 1);
    let long = "k".repeat(257);
    assert_eq!(post(&mock, "/tools/echo", Some(&long), "{}").await.status, 400);
    assert_eq!(mock.effects_total(), 1);
}
