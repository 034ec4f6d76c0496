//! Answers as real providers send them, put together.

use super::*;

fn piece(index: Option<u32>, id: Option<&str>, name: Option<&str>, arguments: &str) -> ModelChunk {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    ModelChunk::ToolCall(ToolCallPiece { index, id, name, arguments: arguments.into(), provider_data: None })
}

fn assemble(chunks: impl IntoIterator<Item = ModelChunk>) -> (ModelStep, Vec<Event>) {
    let mut assembly = Assembly::new(1);
    let events = chunks.into_iter().flat_map(|chunk| assembly.take(chunk)).flatten().collect();
    (assembly.finish("m", &HashSet::new()), events)
}

fn calls(chunks: impl IntoIterator<Item = ModelChunk>) -> Vec<(String, String, String)> {
    let (step, _) = assemble(chunks);
    step.calls().map(|call| (call.call_id.into(), call.name.into(), call.arguments.into())).collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.into(), name.into(), arguments.into())
}

#[test]
fn text_and_reasoning_keep_their_order() {
    let chunks = [
        ModelChunk::Reasoning { text: "hm".into(), returns: false },
        ModelChunk::Text("a".into()),
        ModelChunk::Text("b".into()),
        ModelChunk::Usage(Usage { input_tokens: 1, output_tokens: 2 }),
        ModelChunk::Finish("stop".into()),
    ];
    let (step, events) = assemble(chunks);
    assert_eq!(step.parts, [Part::reasoning("hm"), Part::text("ab")]);
    assert_eq!((step.finish_reason.as_str(), step.usage.output_tokens), ("stop", 2));
    assert_eq!(events.len(), 3);
}

#[test]
fn what_the_provider_wants_back_is_kept_with_its_model() {
    let signed = |bytes: usize| {
        let provider_data = Some(format!(r#"{{"extra_content":"{}"}}"#, "s".repeat(bytes)));
        ModelChunk::ToolCall(ToolCallPiece { name: Some("t".into()), provider_data, ..ToolCallPiece::default() })
    };
    let thought = |text: &str| ModelChunk::Reasoning { text: text.into(), returns: true };
    let (step, _) = assemble([thought("h"), thought("m"), signed(3)]);
    let data = |json: &str| Some(ProviderData { model: "m".into(), json: json.into() });
    let reasoning = Part::Reasoning { text: "hm".into(), provider_data: data(r#"{"reasoning_content":null}"#) };
    assert_eq!(step.parts[0], reasoning);
    assert_eq!(step.parts[1].provider_data().cloned(), data(r#"{"extra_content":"sss"}"#));
    let (step, _) = assemble([signed(PROVIDER_DATA_BYTES_MAX)]);
    assert_eq!(step.parts[0].provider_data(), None, "too large");
}

#[test]
fn odd_ids_are_replaced_and_go_back_as_they_came() {
    let (step, _) = assemble([piece(None, Some("functions.t:0"), Some("t"), "{}")]);
    let ids: Vec<_> = step.calls().map(|call| call.call_id.to_owned()).collect();
    assert_eq!(ids, ["c00010000"]);
    assert_eq!(step.parts[0].provider_data().map(|data| data.json.as_str()), Some(r#"{"id":"functions.t:0"}"#));
}

#[test]
fn no_name_becomes_that_of_another_tool() {
    let long = "a".repeat(NAME_BYTES_MAX);
    let name = |written: &str| calls([piece(None, None, Some(written), "{}")])[0].1.clone();
    assert_eq!(name(&long), long);
    assert!(name(&format!("{long}b")).ends_with(CUT));
    assert_eq!(name("echo\u{1}"), "echo\u{fffd}");
    assert_eq!(calls([piece(Some(0), Some("a"), None, "{}")]), [call("a", NO_NAME, "{}")]);
}

#[test]
fn parallel_calls_come_in_pieces() {
    let chunks = [
        piece(Some(0), Some("a"), Some("t"), ""),
        piece(Some(1), Some("b"), Some("u"), "{"),
        piece(Some(0), None, None, "{\"x\":"),
        piece(Some(1), None, None, "}"),
        piece(Some(0), None, None, "1}"),
    ];
    assert_eq!(calls(chunks), [call("a", "t", "{\"x\":1}"), call("b", "u", "{}")]);
}

#[test]
fn indexes_and_ids_may_be_missing_or_repeated() {
    let no_index = [piece(None, Some("a"), Some("t"), "{}"), piece(None, Some("b"), Some("t"), "{}")];
    assert_eq!(calls(no_index), [call("a", "t", "{}"), call("b", "t", "{}")]);
    let always_zero = [piece(Some(0), Some("a"), Some("t"), "{}"), piece(Some(0), Some("b"), Some("u"), "{}")];
    assert_eq!(calls(always_zero), [call("a", "t", "{}"), call("b", "u", "{}")]);
    let nothing = [piece(None, None, Some("t"), "{}"), piece(None, None, Some("u"), ""), piece(None, None, None, "{}")];
    assert_eq!(calls(nothing), [call("c00010000", "t", "{}"), call("c00010001", "u", "{}")]);
    let same_id = [piece(Some(0), Some("a"), Some("t"), "{}"), piece(Some(1), Some("a"), Some("t"), "")];
    assert_eq!(calls(same_id), [call("a", "t", "{}"), call("c00010001", "t", "{}")]);
    let repeated = [piece(Some(0), Some("a"), Some("t"), "{"), piece(Some(0), Some("a"), Some("t"), "}")];
    assert_eq!(calls(repeated), [call("a", "t", "{}")]);
}

#[test]
fn ids_of_earlier_steps_are_not_used_again() {
    let mut assembly = Assembly::new(2);
    assembly.take(piece(Some(0), Some("call_0"), Some("t"), "{}"));
    let used = HashSet::from(["call_0".to_owned()]);
    let step = assembly.finish("m", &used);
    assert_eq!(step.calls().map(|call| call.call_id.to_owned()).collect::<Vec<_>>(), ["c00020000"]);
    assert_eq!(step.finish_reason, "tool_calls");
}

#[test]
fn a_call_is_shown_once_its_name_is_known() {
    let (_, events) =
        assemble([piece(Some(0), Some("a"), None, "{"), piece(Some(0), None, Some("t"), "}"), piece(Some(0), None, None, " ")]);
    let arguments = |text: &str| Event::ToolCallArgumentsDelta { step: 1.into(), call_index: 0, arguments: text.into() };
    let started = Event::ToolCallStarted { step: 1.into(), call_index: 0, name: "t".into() };
    assert_eq!(events, [started, arguments("{}"), arguments(" ")]);
}

#[test]
fn calls_beyond_the_bound_are_dropped() {
    let many = (0..200).map(|index| piece(Some(index), None, Some("t"), "{}"));
    assert_eq!(calls(many).len(), CALLS_PER_STEP_MAX);
}
