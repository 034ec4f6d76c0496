//! Bad input: the exact code, and exactly one ErrorInfo.

use crate::harness::small;
use runmesh_client::Client;
use runmesh_wire::pb::agent::agent_service_client::AgentServiceClient;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;
use runmesh_wire::pb::stream::stream_service_client::StreamServiceClient;
use runmesh_wire::pb::thread::thread_service_client::ThreadServiceClient;
use runmesh_wire::pb::worker::worker_service_client::WorkerServiceClient;
use runmesh_wire::pb::{agent, run, stream, thread, worker};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What a case must answer.
struct Want {
    code: Code,
    reason: &'static str,
    /// The field named in BadRequest, when one is.
    field: &'static str,
}

const fn invalid(field: &'static str) -> Want {
    Want { code: Code::InvalidArgument, reason: "INVALID_FIELD", field }
}

const fn no(code: Code, reason: &'static str) -> Want {
    Want { code, reason, field: "" }
}

fn check(case: &str, answer: Result<(), Status>, want: &Want) {
    let status = answer.expect_err(case);
    let details = status.get_error_details_vec();
    let infos: Vec<_> = details.iter().filter(|detail| matches!(detail, tonic_types::ErrorDetail::ErrorInfo(_))).collect();
    assert_eq!(infos.len(), 1, "{case}: {status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (want.code, want.reason, "runmesh"),
        "{case}: {status:?}"
    );
    if !want.field.is_empty() {
        let bad = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(bad.field_violations[0].field, want.field, "{case}");
    }
}

const UNKNOWN_THREAD: &str = "thr_00000000000000000000000000000001";
const UNKNOWN_RUN: &str = "run_00000000000000000000000000000001";

fn text(text: &str) -> thread::Part {
    thread::Part { content: Some(thread::part::Content::Text(thread::TextPart { text: text.into() })) }
}

fn send(thread_id: &str, parts: Vec<thread::Part>) -> run::SendMessageRequest {
    run::SendMessageRequest { idempotency_key: "k".into(), thread_id: thread_id.into(), parts, on_busy: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_message() {
    let mesh = small().start().await;
    let known = mesh.thread().await.to_string();
    let mut client = RunServiceClient::new(mesh.client(0).channel());
    let cases = [
        (
            "no key",
            run::SendMessageRequest { idempotency_key: String::new(), ..send(&known, vec![text("a")]) },
            invalid("idempotency_key"),
        ),
        (
            "a key with a space",
            run::SendMessageRequest { idempotency_key: "a b".into(), ..send(&known, vec![text("a")]) },
            invalid("idempotency_key"),
        ),
        ("no thread", send("", vec![text("a")]), invalid("thread_id")),
        ("a thread that is a subject", send("thr_>", vec![text("a")]), invalid("thread_id")),
        ("an unknown thread", send(UNKNOWN_THREAD, vec![text("a")]), no(Code::NotFound, "NOT_FOUND")),
        ("no parts", send(&known, vec![]), invalid("parts")),
        ("a part without content", send(&known, vec![thread::Part { content: None }]), invalid("parts[0]")),
        ("empty text", send(&known, vec![text("  ")]), invalid("parts")),
        ("NUL", send(&known, vec![text("a\0")]), invalid("parts[0].text")),
        ("too much text", send(&known, vec![text(&"a".repeat((1 << 20) + 1))]), invalid("parts")),
        ("too many parts", send(&known, vec![text("a"); 65]), invalid("parts")),
    ];
    for (case, request, want) in cases {
        check(case, client.send_message(request).await.map(drop), &want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_and_following() {
    let mesh = small().start().await;
    let client: Client = mesh.client(0);
    let mut runs = RunServiceClient::new(client.channel());
    let not_found = no(Code::NotFound, "NOT_FOUND");
    for (case, run_id, want) in [("no id", "", invalid("run_id")), ("another kind of id", UNKNOWN_THREAD, invalid("run_id"))] {
        check(case, runs.get_run(run::GetRunRequest { run_id: run_id.into() }).await.map(drop), &want);
    }
    check("an unknown run", runs.get_run(run::GetRunRequest { run_id: UNKNOWN_RUN.into() }).await.map(drop), &not_found);
    let history = run::GetRunHistoryRequest { run_id: UNKNOWN_RUN.into(), include_steps: true };
    check("its history", runs.get_run_history(history).await.map(drop), &not_found);
    let cancel = run::CancelRunRequest { idempotency_key: "k".into(), run_id: UNKNOWN_RUN.into() };
    check("its cancel", runs.cancel_run(cancel).await.map(drop), &not_found);
    let page = run::ListRunsRequest { page_token: "nonsense".into(), ..run::ListRunsRequest::default() };
    check("a page token", runs.list_runs(page).await.map(drop), &invalid("page_token"));
    let page = run::ListRunsRequest { page_size: -1, ..run::ListRunsRequest::default() };
    check("a page size", runs.list_runs(page).await.map(drop), &invalid("page_size"));

    let real = mesh.send("many:1").await;
    let other = mesh.send("many:1").await;
    let mut streams = StreamServiceClient::new(client.stream_channel());
    let from = |run_id: &str, cursor: &str| stream::AttachRunRequest {
        run_id: run_id.into(),
        from: Some(stream::attach_run_request::From::Cursor(cursor.into())),
    };
    let invalid_cursor = no(Code::InvalidArgument, "INVALID_CURSOR");
    let cases = [
        ("an unknown run's stream", stream::AttachRunRequest { run_id: UNKNOWN_RUN.into(), from: None }, not_found),
        ("no cursor", from(&real.id.to_string(), "nonsense"), no(Code::InvalidArgument, "INVALID_CURSOR")),
        ("another run's cursor", from(&real.id.to_string(), &other.cursor), invalid_cursor),
    ];
    for (case, request, want) in cases {
        let answer = match streams.attach_run(request).await {
            Ok(response) => response.into_inner().message().await.map(drop),
            Err(status) => Err(status),
        };
        check(case, answer, &want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_threads_and_workers() {
    let mesh = small().start().await;
    let channel = mesh.client(0).channel();
    let mut agents = AgentServiceClient::new(channel.clone());
    let create = |name: &str, spec: Option<agent::AgentSpec>| agent::CreateAgentRequest {
        idempotency_key: "k".into(),
        name: name.into(),
        spec,
    };
    let tool = agent::Tool { name: "x".into(), ..agent::Tool::default() };
    let with_tool = agent::AgentSpec { tools: vec![tool], ..agent::AgentSpec::default() };
    let cases = [
        ("no name", create("", Some(agent::AgentSpec::default())), invalid("name")),
        ("a bad name", create("A b", Some(agent::AgentSpec::default())), invalid("name")),
        ("no spec", create("a", None), invalid("spec")),
        ("a tool of no kind", create("a", Some(with_tool)), invalid("spec.tools[0]")),
        ("a taken name", create("default", Some(agent::AgentSpec::default())), no(Code::AlreadyExists, "NAME_TAKEN")),
    ];
    for (case, request, want) in cases {
        check(case, agents.create_agent(request).await.map(drop), &want);
    }
    let mut threads = ThreadServiceClient::new(channel.clone());
    let thread = thread::CreateThreadRequest { idempotency_key: "k".into(), agent: "nobody".into(), title: String::new() };
    check("an unknown agent", threads.create_thread(thread).await.map(drop), &no(Code::NotFound, "NOT_FOUND"));
    let mut workers = WorkerServiceClient::new(channel);
    let finish = worker::FinishRequest::default();
    let answer = workers.finish(finish).await.map(drop);
    check("a worker's call without a run token", answer, &no(Code::Unauthenticated, "UNAUTHENTICATED"));
}
