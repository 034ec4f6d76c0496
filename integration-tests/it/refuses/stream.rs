//! StreamService, as people call it. What a lease holder may get wrong is in `holder`.

use super::{Case, Known, UNKNOWN_RUN, UNKNOWN_THREAD, case, check, check_all, ids, no};
use crate::harness::small;
use crate::rpc::Api;
use runmesh_wire::pb::stream::AttachRunRequest;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use serde_json::json;
use std::time::{Duration, Instant};
use tonic::{Code, Request};

const INVALID_CURSOR: super::Want = no(Code::InvalidArgument, "INVALID_CURSOR");

pub(super) fn cases(known: &Known) -> Vec<Case> {
    let from = |cursor: &str| json!({"run_id": known.run, "cursor": cursor});
    let cut = known.other_cursor.get(1..).unwrap_or_default();
    let on = |cursor: &str| json!({"thread_id": known.thread, "cursor": cursor});
    let mut cases = ids("AttachRun", &json!({}), "run_id", UNKNOWN_RUN);
    cases.extend([
        case("AttachRun", "an empty cursor", from(""), INVALID_CURSOR),
        case("AttachRun", "no cursor", from("nonsense"), INVALID_CURSOR),
        case("AttachRun", "a cut cursor", from(cut), INVALID_CURSOR),
        case("AttachRun", "another run's cursor", from(&known.other_cursor), INVALID_CURSOR),
    ]);
    cases.extend(ids("AttachThread", &json!({}), "thread_id", UNKNOWN_THREAD));
    cases.extend([
        case("AttachThread", "an empty cursor", on(""), INVALID_CURSOR),
        case("AttachThread", "no cursor", on("nonsense"), INVALID_CURSOR),
        case("AttachThread", "another thread's cursor", on(&known.other_cursor), INVALID_CURSOR),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams() {
    let mesh = small().without_workers().start().await;
    let (run, other) = (mesh.send("many:1").await, mesh.send("many:1").await);
    let known = Known { thread: run.thread.to_string(), run: run.id.to_string(), other_cursor: other.cursor, ..Known::default() };
    check_all(&Api::of(&mesh), cases(&known)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_bounds_a_stream_that_has_begun() {
    let mesh = small().without_workers().start().await;
    let run = mesh.send("many:1").await;
    let mut request = Request::new(AttachRunRequest { run_id: run.id.to_string(), from: None });
    request.set_timeout(Duration::from_millis(700));
    let begun = Instant::now();
    let mut frames = StreamServiceClient::new(mesh.client(0).stream_channel()).attach_run(request).await.unwrap().into_inner();
    let refused = loop {
        match frames.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the run has not ended"),
            Err(status) => break status,
        }
    };
    check("in the middle of a stream", &refused, no(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
