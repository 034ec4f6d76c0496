//! R5: one key and body is one run and one answer.

use crate::harness::mesh;
use runmesh_client::SendOptions;
use runmesh_domain::Reason;

fn with_key(key: &str) -> SendOptions {
    SendOptions { idempotency_key: Some(key.to_owned()), ..SendOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_hears_the_first_answer_and_another_body_is_refused() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let first = mesh.client(0).send(thread, "many:1", with_key("k-1")).await.expect("accepted");
    let again = mesh.client(1).send(thread, "many:1", with_key("k-1")).await.expect("accepted");
    assert!(!first.replayed && again.replayed);
    assert_eq!(
        (first.run, first.message, first.turn_number, &first.cursor),
        (again.run, again.message, again.turn_number, &again.cursor)
    );
    let refused = mesh.client(1).send(thread, "many:2", with_key("k-1")).await.expect_err("a refusal");
    assert_eq!(refused.reason(), Some(Reason::IdempotencyKeyReused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_with_one_key_make_one_run() {
    let mesh = mesh().start().await;
    let thread = mesh.thread().await;
    let calls = (0..50).map(|n| {
        let client = mesh.client(n % 2);
        async move { client.send(thread, "many:1", with_key("race")).await.expect("accepted") }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.run == answers[0].run), "one run");
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "one of them made it");
}
