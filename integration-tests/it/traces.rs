//! One trace over all hops: from the call that sent the message to the worker's last write, and a new one with a link when
//! another worker takes the run up.

use crate::harness::{mesh, small};
use crate::tools::{ask, clock};
use runmesh_domain::run::StateName;
use runmesh_testkit::mesh::{Builder, Kind, Run};
use runmesh_testkit::otlp::{Collector, Span};
use runmesh_testkit::until;
use runmesh_wire::pb::run::SendMessageRequest;
use runmesh_wire::pb::run::run_service_client::RunServiceClient;
use std::time::Duration;

/// A mesh that exports to `collector`.
fn traced(mesh: Builder, collector: &Collector) -> Builder {
    let environment = collector.environment();
    environment.iter().fold(mesh, |mesh, (key, value)| mesh.set(Kind::Environment, key, value))
}

/// What a whole run leaves in its trace, and where.
type Wanted = (&'static str, &'static str, fn(&Span) -> bool);

/// What the worker and those it calls leave, whichever trace the attempt is in.
const ATTEMPT: [Wanted; 4] = [
    ("run-orchestrator", "the run", |span| span.name == "run"),
    ("run-orchestrator", "the model call", |span| span.name == "chat mock"),
    ("run-orchestrator", "Finish", |span| span.serves("Finish")),
    ("stream-relay", "Append", |span| span.serves("Append")),
];

/// Waits until all of `wanted` are in a trace.
async fn wait_for_all(collector: &Collector, trace_id: &str, wanted: &[Wanted]) -> Vec<Span> {
    for (service, what, is_it) in wanted {
        let found = |span: &Span| span.trace_id == trace_id && span.service == *service && is_it(span);
        collector.wait_for(&format!("{what} of {service} in trace {trace_id}"), found).await;
    }
    collector.trace(trace_id)
}

fn the<'a>(spans: &'a [Span], service: &str, is_it: impl Fn(&Span) -> bool) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.service == service && is_it(span)).collect();
    assert_eq!(found.len(), 1, "one such span of {service} in {spans:#?}");
    found[0]
}

/// The gateway's span of the one message that was sent through it.
async fn sender(collector: &Collector) -> Span {
    collector.wait_for("the gateway's span", |span| span.service == "gateway" && span.serves("SendMessage")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_a_trace_begins_one_that_reaches_every_hop() {
    let collector = Collector::start().await;
    let mesh = traced(small(), &collector).start().await;
    let run = ask(&mesh, vec![clock()], "usage tool:current_time{}").await;
    mesh.attach(0, &run).await.assert_exact().assert_state(StateName::Completed);

    let gateway = sender(&collector).await;
    assert_eq!(gateway.parent_id, "", "nobody called with a trace: {gateway:?}");
    let mut wanted: Vec<Wanted> = vec![
        ("run-orchestrator", "SendMessage", |span| span.serves("SendMessage")),
        ("run-orchestrator", "the tool call", |span| span.name == "execute_tool current_time"),
        ("run-orchestrator", "RecordStep", |span| span.serves("RecordStep")),
    ];
    wanted.extend(ATTEMPT);
    let spans = wait_for_all(&collector, &gateway.trace_id, &wanted).await;

    let send = the(&spans, "run-orchestrator", |span| span.serves("SendMessage"));
    let run = the(&spans, "run-orchestrator", |span| span.name == "run");
    assert_eq!(send.parent_id, gateway.span_id);
    assert_eq!(run.parent_id, send.span_id, "the run is a part of what accepted it");
    assert!(run.links.is_empty(), "{run:?}");
    let in_run =
        |span: &&Span| span.name == "chat mock" || span.serves("RecordStep") || span.serves("Finish") || span.serves("Append");
    assert!(spans.iter().filter(in_run).all(|span| span.parent_id == run.span_id), "{spans:#?}");

    let chat = spans.iter().find(|span| span.name == "chat mock").expect("waited for");
    assert_eq!((chat.attribute("gen_ai.operation.name"), chat.attribute("gen_ai.request.model")), ("chat", "mock"));
    for tokens in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        assert!(chat.attribute(tokens).parse::<u64>().is_ok_and(|tokens| tokens > 0), "{tokens}: {chat:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_through_to_the_worker() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start().await;
    let mesh = traced(small(), &collector).start().await;
    let thread = mesh.thread().await;
    let message = runmesh_domain::message::Part::text("many:2");
    let mut request = tonic::Request::new(SendMessageRequest {
        idempotency_key: "traced".into(),
        thread_id: thread.to_string(),
        parts: vec![runmesh_wire::IntoWire::into_wire(message)],
        ..SendMessageRequest::default()
    });
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
    let channel = tonic::transport::Endpoint::from_shared(mesh.gateway_url(0)).unwrap().connect_lazy();
    RunServiceClient::new(channel).send_message(request).await.unwrap();

    let gateway = sender(&collector).await;
    assert_eq!((gateway.trace_id.as_str(), gateway.parent_id.as_str()), (TRACE, "b7ad6b7169203331"));
    wait_for_all(&collector, TRACE, &ATTEMPT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_taken_up_again_is_a_new_trace_linked_to_the_old() {
    let collector = Collector::start().await;
    let mut mesh = traced(mesh(), &collector).start().await;
    let run: Run = mesh.send("slow:20x100").await;
    drop(mesh.watch(0, &run).await);
    let sender = sender(&collector).await;
    let owner = mesh.owner_of(&run).await;
    mesh.kill(owner);
    assert_eq!(mesh.ended(&run).await.state(), runmesh_wire::pb::run::run::State::Completed);

    let second = until("the second attempt's span", Duration::from_secs(30), async || {
        let mut spans = collector.spans().into_iter();
        spans.find(|span| span.name == "run" && span.attribute("run_id") == run.id.to_string())
    })
    .await;
    assert_ne!(second.attribute("fence"), "1", "{second:?}");
    assert_ne!(second.trace_id, sender.trace_id);
    assert_eq!((second.links.as_slice(), second.parent_id.as_str()), ([sender.trace_id.clone()].as_slice(), ""));
    wait_for_all(&collector, &second.trace_id, &ATTEMPT).await;
}
