//! Calls pass unchanged: messages, statuses, headers of the service, deadlines; and a caller that leaves is noticed behind.

use std::time::Duration;

use runmesh_domain::Reason;
use runmesh_wire::pb::run::{CancelRunRequest, GetRunRequest, ListRunsRequest, SendMessageRequest};

use crate::support::{by, eventually, pair, raw, reason, refused, soon, tokens, with};

#[tokio::test]
async fn a_call_and_its_answer_pass() {
    let (behind, gateway) = pair().await;
    let thread_id = "x".repeat(1 << 20);
    let request = SendMessageRequest { thread_id: thread_id.clone(), ..Default::default() };
    let answer = gateway.runs().await.send_message(by(&tokens::ann(), request)).await.unwrap();
    assert_eq!(answer.get_ref().cursor, thread_id);
    assert!(answer.metadata().contains_key("x-request-id"));
    assert_eq!(behind.calls(), 1);
}

#[tokio::test]
async fn a_refusal_passes_with_everything_it_carries() {
    let (_behind, gateway) = pair().await;
    let status = gateway.runs().await.get_run(by(&tokens::ann(), GetRunRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), Reason::NotFound);
    assert_eq!(status.message(), "no such run");
    assert_eq!(status.metadata().get("x-kept").unwrap(), "as it was");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let (behind, gateway) = pair().await;
    let token = format!("Bearer {}", tokens::ann());
    for path in ["/runmesh.run.v1.RunService/Nothing", "/other.v1.Service/Get", "/grpc.reflection.v1.ServerReflection/Nothing"] {
        let answer = raw::call(gateway.addr, path, &[("authorization", &token)], raw::message(0, b"")).await;
        assert_eq!(reason(&answer.status()), Reason::UnknownMethod, "{path}");
    }
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn the_remaining_time_goes_on_and_is_enforced() {
    let (behind, gateway) = pair().await;
    let mut runs = gateway.runs().await;
    let micros = || {
        let headers = behind.last().headers;
        let sent = headers.get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
        sent.strip_suffix('u').unwrap().parse::<u64>().unwrap()
    };
    runs.cancel_run(by(&tokens::ann(), CancelRunRequest::default())).await.unwrap();
    assert!((9_000_000..=10_000_000).contains(&micros()), "the default of the class: {}", micros());

    let mut asked = by(&tokens::ann(), CancelRunRequest::default());
    asked.set_timeout(Duration::from_secs(20));
    runs.cancel_run(asked).await.unwrap();
    assert!((19_000_000..=20_000_000).contains(&micros()), "what the caller said: {}", micros());

    let mut asked = by(&tokens::ann(), CancelRunRequest::default());
    asked.set_timeout(Duration::from_secs(3_600));
    runs.cancel_run(asked).await.unwrap();
    assert!((29_000_000..=30_000_000).contains(&micros()), "at most the bound of the class: {}", micros());

    let headers = format!("Bearer {}", tokens::ann());
    let hanging = [("authorization", headers.as_str()), ("grpc-timeout", "50m")];
    let answer = raw::call(gateway.addr, "/runmesh.run.v1.RunService/ListRuns", &hanging, raw::message(0, b"")).await;
    assert_eq!(reason(&answer.status()), Reason::DeadlineExceeded);
    eventually("the call behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_call_behind() {
    let (behind, gateway) = pair().await;
    let mut runs = gateway.runs().await;
    let call = tokio::spawn(async move { runs.list_runs(by(&tokens::ann(), ListRunsRequest::default())).await });
    eventually("the call is behind", async || behind.open() == 1).await;
    call.abort();
    eventually("the call behind has ended", async || behind.open() == 0).await;
}

#[tokio::test]
async fn identities_and_the_callers_token_do_not_go_on() {
    let (behind, gateway) = pair().await;
    let bearer = format!("Bearer {}", tokens::ann());
    let forged = tokens::worker(Duration::from_secs(60));
    let request = with(
        SendMessageRequest::default(),
        &[
            ("authorization", &bearer),
            ("cookie", "session=1"),
            ("x-runmesh-principal", &forged),
            ("x-runmesh-anything", "1"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-auth-request-email", "root@example"),
            ("x-harmless", "kept"),
        ],
    );
    gateway.runs().await.send_message(request).await.unwrap();
    let headers = behind.last().headers;
    for gone in ["authorization", "cookie", "x-runmesh-principal", "x-runmesh-anything", "x-forwarded-user", "x-forwarded-for"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert!(!headers.contains_key("x-auth-request-email"));
    assert_eq!(headers.get("x-harmless").unwrap(), "kept");
}

#[tokio::test]
async fn a_callers_trace_and_request_id_go_on() {
    let (behind, gateway) = pair().await;
    let token = format!("Bearer {}", tokens::ann());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("authorization", token.as_str()), ("x-request-id", "mine-1"), ("traceparent", trace)];
    let answer = gateway.runs().await.send_message(with(SendMessageRequest::default(), &headers)).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine-1");
    let seen = behind.last().headers;
    assert_eq!(seen.get("x-request-id").unwrap(), "mine-1");
    assert!(seen.get("traceparent").unwrap().to_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
}

#[tokio::test]
async fn what_is_no_grpc_is_turned_away() {
    let (behind, gateway) = pair().await;
    let token = format!("Bearer {}", tokens::ann());
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let answer = raw::call(gateway.addr, "/runmesh.run.v1.RunService/GetRun", &headers, b"{}".to_vec()).await;
    assert_eq!(answer.http, http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(behind.calls(), 0);
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable() {
    let (behind, gateway) = pair().await;
    behind.kill().await;
    let answer = soon(gateway.runs().await.get_run(by(&tokens::ann(), GetRunRequest::default()))).await;
    assert_eq!(refused(answer), Reason::Unavailable);
}
