//! The model client against streams as real servers send them.

use crate::harness::{provider, run_id};
use runmesh_agent::model::{ChatMessage, ChatRequest, ModelChunk, ModelError};
use runmesh_agent::{ModelConfig, Provider};
use runmesh_domain::agent::ModelParameters;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A server that answers one call with `answer`, then keeps the connection open or closes it.
async fn serve(answer: String, stay: bool) -> (String, AbortOnDropHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 << 10];
        let read = socket.read(&mut request).await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        if stay {
            std::future::pending::<()>().await;
        }
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (url, AbortOnDropHandle::new(task))
}

fn events(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

async fn call(provider: &Provider, idle: Duration) -> Result<Vec<ModelChunk>, ModelError> {
    let message = ChatMessage::User { content: "hi".into() };
    let request = ChatRequest::new("m", &ModelParameters::default(), vec![&message], &[]);
    let mut stream = provider.call(&request, run_id(), idle).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        chunks.push(chunk?);
    }
    Ok(chunks)
}

async fn read(body: &str) -> Result<Vec<ModelChunk>, ModelError> {
    let (url, _server) = serve(events(body), false).await;
    call(&provider(&url), Duration::from_secs(10)).await
}

fn text(text: &str) -> ModelChunk {
    ModelChunk::Text(text.into())
}

fn finish(reason: &str) -> ModelChunk {
    ModelChunk::Finish(reason.into())
}

#[tokio::test]
async fn odd_streams_are_understood() {
    let crlf = ": hello\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n: ping\r\n\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n";
    assert_eq!(read(crlf).await, Ok(vec![text("a"), finish("stop")]));
    let done_only = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    assert_eq!(read(done_only).await, Ok(vec![text("a")]));
    let no_space = "data:{\"choices\":[{\"delta\":{\"content\":\"ä\"},\"finish_reason\":\"length\"}]}\n\n";
    assert_eq!(read(no_space).await, Ok(vec![text("ä"), finish("length")]));
    let after_finish = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: broken\n\n";
    assert_eq!(read(after_finish).await, Ok(vec![finish("stop")]));
}

#[tokio::test]
async fn a_stream_without_an_end_is_broken() {
    let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    assert!(matches!(read(cut).await, Err(ModelError::Broken { .. })));
    assert!(matches!(read("").await, Err(ModelError::Broken { .. })));
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    assert_eq!(read(error).await, Err(ModelError::Broken { detail: "overloaded".into() }));
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let idle = Duration::from_millis(150);
    let (url, _server) = serve(events("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"), true).await;
    assert_eq!(call(&provider(&url), idle).await, Err(ModelError::Idle { after: idle }));
    let (url, _server) = serve(String::new(), true).await;
    assert_eq!(call(&provider(&url), idle).await, Err(ModelError::Idle { after: idle }));
}

#[tokio::test]
async fn a_finished_stream_is_not_waited_for() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
    let (url, _server) = serve(events(body), true).await;
    let chunks = tokio::time::timeout(Duration::from_secs(8), call(&provider(&url), Duration::from_secs(60))).await;
    assert_eq!(chunks.expect("it ends"), Ok(vec![text("a"), finish("stop")]));
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let (url, _server) = serve(events(&format!("data: {}", "x".repeat(5 << 20))), true).await;
    assert!(matches!(call(&provider(&url), Duration::from_secs(20)).await, Err(ModelError::Broken { .. })));
}

#[tokio::test]
async fn refusals_carry_the_providers_words_and_never_the_key() {
    crate::harness::install_tls();
    let body = r#"{"error":{"message":"no credit on sk-secret"}}"#;
    let answer = |status: &str, extra: &str| format!("HTTP/1.1 {status}\r\n{extra}content-length: {}\r\n\r\n{body}", body.len());
    let with_key =
        |url: String| Provider::new(ModelConfig { base_url: url, api_key: Some("sk-secret".to_owned().into()) }).unwrap();
    let (url, server) = serve(answer("403 Forbidden", ""), false).await;
    let error = call(&with_key(url), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error, ModelError::Permanent { status: Some(403), detail: "the model answered 403: no credit on [key]".into() });
    assert!(server.await.unwrap().contains("authorization: Bearer sk-secret"));
    let (url, _server) = serve(answer("429 Too Many Requests", "retry-after: 3\r\n"), false).await;
    let error = call(&with_key(url), Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, ModelError::Retryable { status: Some(429), retry_after: Some(after), .. } if after.as_secs() == 3));
    let (url, _server) = serve(answer("302 Found", "location: http://127.0.0.1:1/\r\n"), false).await;
    assert!(matches!(call(&with_key(url), Duration::from_secs(10)).await, Err(ModelError::Permanent { status: Some(302), .. })));
}

fn answer(kind: &str, extra: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{extra}content-length: {}\r\n\r\n{body}", body.len())
}

async fn words_of(answer: String) -> String {
    let (url, _server) = serve(answer, false).await;
    call(&provider(&url), Duration::from_secs(10)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_read_for_what_it_says() {
    let error = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}"#;
    assert!(words_of(answer("application/json", "", error)).await.contains("exceeded your current quota"));
    assert!(words_of(answer("application/json", "", r#"{"status":"ok"}"#)).await.contains("no answer"));
    let html = "<!DOCTYPE html><html><body>Welcome</body></html>";
    let words = words_of(answer("text/html; charset=utf-8", "", html)).await;
    assert!(words.contains("text/html") && words.contains("/v1/chat/completions"), "{words}");
    let words = words_of(answer("text/event-stream", "content-encoding: gzip\r\n", "\u{1f}\u{8b}")).await;
    assert!(words.contains("gzip"), "{words}");
    let whole =
        r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let (url, _server) = serve(answer("application/json", "", whole), false).await;
    let chunks = call(&provider(&url), Duration::from_secs(10)).await.unwrap();
    assert_eq!(&chunks[..2], [text("a"), finish("stop")]);
    let moved =
        "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://example.com/v2?key=secret-value\r\ncontent-length: 0\r\n\r\n";
    let words = words_of(moved.to_owned()).await;
    assert!(words.contains("https://example.com/v2") && !words.contains("secret-value"), "{words}");
}

#[tokio::test]
async fn frames_that_say_nothing_neither_break_a_stream_nor_keep_it_alive() {
    let empty = "data:\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: \n\ndata: [DONE]\n\n";
    assert_eq!(read(empty).await, Ok(vec![text("a")]));
    let idle = Duration::from_millis(400);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 << 10];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        socket.write_all(events("").as_bytes()).await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while socket.write_all(b"data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n").await.is_ok() {
            ticks.tick().await;
        }
    }));
    assert_eq!(call(&provider(&url), idle).await, Err(ModelError::Idle { after: idle }));
}

#[tokio::test]
async fn nobody_there_may_be_tried_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(call(&provider(&url), Duration::from_secs(10)).await, Err(ModelError::Retryable { status: None, .. })));
}

#[tokio::test]
async fn the_mock_models_quirks_are_understood() {
    let model = runmesh_mock_model::MockModel::start().await.unwrap();
    let message = ChatMessage::User { content: "quirks many:3 usage".into() };
    let request = ChatRequest::new("m", &ModelParameters::default(), vec![&message], &[]);
    let mut stream = provider(&model.url()).call(&request, run_id(), Duration::from_secs(10)).await.unwrap();
    let mut said = String::new();
    while let Some(chunk) = stream.next().await {
        if let ModelChunk::Text(text) = chunk.unwrap() {
            said.push_str(&text);
        }
    }
    assert!(said.contains("chunk-2"), "{said}");
}
