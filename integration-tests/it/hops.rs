//! In `runmesh dev` too every hop between services is a call over a socket and never one of a function: the hops of a message
//! are counted by their serving sides.

use crate::dev::{Dev, folder};
use runmesh_client::{SendOptions, Start};
use runmesh_testkit::otlp::{Collector, Span};
use std::time::Duration;

/// How long `dev` may take to stop.
const STOP: Duration = Duration::from_secs(60);

/// The served calls of `method`, callers before those they call.
fn served(spans: &[Span], method: &str) -> Vec<Span> {
    let mut calls: Vec<_> = spans.iter().filter(|span| span.serves(method)).cloned().collect();
    calls.sort_by_key(|call| calls_above(spans, call));
    calls
}

/// How many spans of `spans` stand above `span`.
fn calls_above(spans: &[Span], span: &Span) -> usize {
    let parent = |of: &Span| spans.iter().find(|span| span.span_id == of.parent_id).cloned();
    std::iter::successors(parent(span), parent).count()
}

/// Asserts that the gateway served `method` once and called the service behind it once.
fn assert_two_hops(spans: &[Span], method: &str) {
    let calls = served(spans, method);
    assert_eq!(calls.len(), 2, "{method} is served by the gateway and behind it: {calls:#?}");
    assert_eq!(calls[1].parent_id, calls[0].span_id, "{method} went from one to the other: {calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_dev_takes_as_many_hops_as_between_machines() {
    let collector = Collector::start().await;
    let folder = folder();
    let mut dev = Dev::start_with(folder.path(), &collector.environment());
    let client = dev.client();
    let thread = client.create_thread("default", "").await.expect("a thread");
    let sent = client.send(thread, "many:3", SendOptions::default()).await.expect("accepted");
    let mut follow = client.follow(sent.run, Start::Cursor(sent.cursor));
    let view = tokio::time::timeout(STOP, follow.to_end()).await.expect("in time").expect("an end");
    assert!(view.text().contains("chunk-2"), "{}", view.text());
    // Streams are counted when they end, and everything is exported before the process does.
    dev.stop(STOP).await;

    let spans = collector.spans();
    assert_two_hops(&spans, "CreateThread");
    assert_two_hops(&spans, "SendMessage");
    assert_two_hops(&spans, "AttachRun");
    for method in ["Finish", "Append"] {
        assert_eq!(served(&spans, method).len(), 1, "the worker called {method} once: {spans:#?}");
    }
    assert!(!served(&spans, "Claim").is_empty(), "the worker claimed over a stream: {spans:#?}");
}
