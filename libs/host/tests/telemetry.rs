//! Logs, trace ids and the admin port of one process. Alone in its binary, since a process has one subscriber.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use runmesh_host::admin::{self, Admin};
use runmesh_host::health::Reporter;
use runmesh_host::server::Policy;
use runmesh_host::telemetry::{LogFormat, TelemetryConfig, TelemetryError, init, init_with_writer};
use runmesh_host::{Lifecycle, Server, ServerConfig, Upstream, UpstreamConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn objects(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn get(addr: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn server() -> Server {
    let policy = Policy { knows: |path| path == "/demo.v1.Demo/Log", ..Policy::default() };
    Server::builder(ServerConfig::default()).policy(policy)
}

/// `inner` forwards to `outer`'s handler: two hops, so that the context has to travel.
async fn two_hops(life: &Lifecycle) -> Upstream {
    let log = || async {
        tracing::info!(answer = 42, "handled");
        tonic::Status::internal("broken").into_http::<Body>()
    };
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to_inner =
        Upstream::new(UpstreamConfig::unary("inner", vec![format!("http://{}", inner.local_addr().unwrap())])).unwrap();
    let routes = axum::Router::new().route("/demo.v1.Demo/Log", axum::routing::post(log));
    life.spawn("inner", server().serve(inner, Routes::from(routes), life.clone()));

    let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to_outer =
        Upstream::new(UpstreamConfig::unary("outer", vec![format!("http://{}", outer.local_addr().unwrap())])).unwrap();
    let routes = Routes::from(Routes::default().into_axum_router().fallback_service(to_inner));
    life.spawn("outer", server().serve(outer, routes, life.clone()));
    to_outer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_two_hops_is_one_trace_in_logs_and_a_metric_on_the_admin_port() {
    let lines = Lines::default();
    let config = TelemetryConfig { service_name: "demo", version: "1.2.3", log: LogFormat::Json };
    let writer = lines.clone();
    let telemetry = init_with_writer(&config, move || writer.clone()).unwrap();
    assert!(matches!(init(&config), Err(TelemetryError::Twice)));

    let life = Lifecycle::new();
    let upstream = two_hops(&life).await;
    let health = Reporter::new(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    life.spawn_aside(
        "admin",
        admin::serve(listener, Admin { health: health.clone(), metrics: telemetry.metrics(), build: telemetry.build_info() }),
    );

    let request = Request::post("/demo.v1.Demo/Log")
        .header("content-type", "application/grpc")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .header("x-request-id", "req-1")
        .body(Body::empty())
        .unwrap();
    let answer = upstream.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "13");

    // Names that a caller made up, in every way to make them known: as a method and as no gRPC at all.
    for (path, kind) in [
        ("/demo.v1.Demo/made-up-method", "application/grpc"),
        ("/demo.v1.Demo/made-up-page", "text/plain"),
        ("/grpc.health.v1.made-up/health", "text/plain"),
        ("/grpc.reflection.made-up/reflection", "application/grpc"),
    ] {
        let request = Request::post(path).header("content-type", kind).body(Body::empty()).unwrap();
        upstream.clone().oneshot(request).await.unwrap();
    }

    // A task is named in its log lines, and what it does is no part of one trace that lasts as long as the process.
    let (said, heard) = tokio::sync::oneshot::channel();
    life.spawn("idle", async move {
        tracing::info!("in a task");
        let within = tracing::info_span!("work").in_scope(runmesh_host::propagate::traceparent);
        drop(said.send((runmesh_host::propagate::traceparent(), within)));
        Ok::<(), std::convert::Infallible>(())
    });
    let (task, work) = heard.await.unwrap();
    assert_eq!(task, "");
    assert_eq!((work.len(), work.contains(TRACE)), (55, false), "{work}");

    let logged = lines.objects();
    let in_task = logged.iter().find(|line| line["message"] == "in a task").unwrap();
    assert!(in_task["spans"].to_string().contains("idle") && in_task.get("trace_id").is_none(), "{in_task}");
    let handled = logged.iter().find(|line| line["message"] == "handled").unwrap();
    assert_eq!((&handled["trace_id"], &handled["answer"], &handled["level"]), (&TRACE.into(), &42.into(), &"INFO".into()));
    assert!(handled["spans"].to_string().contains("req-1"), "{handled}");
    // Both hops saw the fault, both in the same trace.
    let failed: Vec<_> = logged.iter().filter(|line| line["message"] == "call failed").collect();
    assert_eq!(failed.len(), 2, "{logged:?}");
    assert!(failed.iter().all(|line| line["trace_id"] == TRACE && line["level"] == "ERROR"), "{failed:?}");
    assert_ne!(failed[0]["span_id"], failed[1]["span_id"]);

    assert!(get(addr, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 503"));
    health.set("", true);
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/version").await.ends_with(r#"{"service":"demo","version":"1.2.3"}"#));
    let metrics = get(addr, "/metrics").await;
    for name in ["build_info{", "rpc_server_call_duration_seconds_count{", "rpc_server_connections", "rpc_server_calls_in_flight"]
    {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    assert!(metrics.contains(r#"rpc_method="demo.v1.Demo/Log""#), "{metrics}");
    assert!(metrics.contains(r#"rpc_method="_OTHER""#) && !metrics.contains("made-up"), "callers name no series: {metrics}");

    assert!(life.drain(Duration::from_secs(5)).await);
    telemetry.shutdown().await;
}
