//! Answers of text: prose, numbered chunks, their pace, finish reasons and token counts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use runmesh_mock_model::MockModel;
use serde_json::json;

use crate::client::{ask, ask_whole, body_of, chat};

/// `[(call start, number)]` of numbered chunks.
fn numbers(chunks: &[String]) -> Vec<(u64, u32)> {
    let parse = |chunk: &String| {
        let (start, number) = chunk.strip_prefix('t')?.strip_suffix(' ')?.split_once(" chunk-")?;
        Some((start.parse().ok()?, number.parse().ok()?))
    };
    chunks.iter().map(|chunk| parse(chunk).unwrap()).collect()
}

#[tokio::test]
async fn prose_names_three_things_to_try() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "good morning").await;
    assert_eq!((reply.status, reply.complete, reply.is_done()), (200, true, true));
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = reply.text();
    assert!(text.contains("good morning"), "{text}");
    let things = ["`slow:", "`many:", "`fail:503`"];
    assert!(things.iter().all(|thing| text.contains(thing)), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("- ")).count(), 3);
    assert_eq!(reply.finish_reasons(), ["stop"]);
    assert_eq!(reply.deltas()[0]["role"], "assistant");
    assert!(reply.chunks().len() > 20);
}

#[tokio::test]
async fn prose_suggests_a_tool_the_request_offers() {
    let mock = MockModel::start().await.unwrap();
    let mut body = body_of("hello", true);
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    body["tools"] = json!([tool("ask_user"), tool("http_fetch")]);
    let text = chat(mock.address(), &body).await.text();
    assert!(text.contains("`tool:http_fetch{}`"), "{text}");
}

#[tokio::test]
async fn many_sends_numbered_chunks_with_the_start_of_the_call() {
    let mock = MockModel::start().await.unwrap();
    let unix_ms = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let before = unix_ms();
    let reply = ask(mock.address(), "many:200").await;
    let after = unix_ms();
    let numbers = numbers(&reply.chunks());
    assert_eq!(numbers.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    let start = numbers[0].0;
    assert!((before..=after).contains(&start));
    assert!(numbers.iter().all(|(ms, _)| *ms == start));
    assert!(reply.complete && reply.is_done());
    assert_eq!(reply.finish_reasons(), ["stop"]);
}

#[tokio::test]
async fn slow_keeps_its_pace_from_the_first_chunk_on() {
    let mock = MockModel::start().await.unwrap();
    let reply = ask(mock.address(), "slow:5x40 tell me").await;
    assert_eq!(numbers(&reply.chunks()).len(), 5);
    // Four gaps between the first chunk and the last; each chunk arrives by itself.
    assert!(reply.spread() >= Duration::from_millis(150), "{:?}", reply.spread());
    assert!(reply.reads() >= 5, "{}", reply.reads());
    assert!(reply.is_done());
}

#[tokio::test]
async fn slow_that_is_not_streamed_takes_as_long() {
    let mock = MockModel::start().await.unwrap();
    let start = Instant::now();
    let reply = ask_whole(mock.address(), "slow:4x40").await;
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    let text = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let chunks: Vec<String> = text.split_inclusive(' ').collect::<Vec<_>>().chunks(2).map(|two| two.concat()).collect();
    assert_eq!(numbers(&chunks).iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn len_ends_with_length() {
    let mock = MockModel::start().await.unwrap();
    assert_eq!(ask(mock.address(), "many:2 len").await.finish_reasons(), ["length"]);
    let whole = ask_whole(mock.address(), "len").await.json();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn usage_comes_last_with_empty_choices_by_hint_or_by_option() {
    let mock = MockModel::start().await.unwrap();
    let mut by_option = body_of("many:3", true);
    by_option["stream_options"] = json!({"include_usage": true});
    for reply in [ask(mock.address(), "many:3 usage").await, chat(mock.address(), &by_option).await] {
        let events = reply.events();
        let last = &events[events.len() - 1];
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], 3);
        let prompt = last["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(prompt > 0);
        assert_eq!(last["usage"]["total_tokens"], prompt + 3);
        assert!(reply.is_done());
    }
    let without = ask(mock.address(), "many:3").await;
    assert!(without.events().iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn quirks_make_an_odd_but_readable_stream() {
    let mock = MockModel::start().await.unwrap();
    let plain = ask(mock.address(), "many:3").await;
    assert!(plain.events().iter().all(|event| event["id"] == plain.events()[0]["id"]));
    assert!(plain.events()[0]["id"].is_string());
    assert!(!plain.body.contains('\r') && !plain.body.contains("\n:"));

    let odd = ask(mock.address(), "many:3 quirks").await;
    assert!(odd.complete && !odd.body.contains("[DONE]"));
    assert!(odd.body.starts_with(": keep-alive\r\n\r\n"));
    assert_eq!(odd.body.matches('\n').count(), odd.body.matches("\r\n").count());
    assert!(odd.events().iter().all(|event| event.get("id").is_none()));
    assert_eq!(odd.events()[0]["choices"], json!([]));
    assert_eq!(numbers(&odd.chunks()).len(), 3);
    assert_eq!(odd.finish_reasons(), ["stop"]);
}
