//! What counts as a hint and what is prose.

use super::*;

fn chunks(count: u32, gap_ms: u64) -> Option<Chunks> {
    Some(Chunks { count, gap: Duration::from_millis(gap_ms) })
}

fn calls(text: &str) -> Vec<(String, String)> {
    let hints = Hints::parse(text);
    hints.calls.into_iter().map(|call| (call.name, call.arguments)).collect()
}

#[test]
fn prose_has_no_hints() {
    for text in ["", "hello", "slowly, many: things", "tooling asks length", "Ask", "a:b"] {
        assert_eq!(Hints::parse(text), Hints::default(), "{text}");
    }
}

#[test]
fn chunk_hints_are_bounded_and_the_first_wins() {
    assert_eq!(Hints::parse("slow:20x50 tell me").chunks, chunks(20, 50));
    assert_eq!(Hints::parse("please many:7").chunks, chunks(7, 0));
    assert_eq!(Hints::parse("many:7 slow:2x2").chunks, chunks(7, 0));
    assert_eq!(Hints::parse("`slow:100000x60000`").chunks, chunks(100_000, 60_000));
    for bad in [
        "slow:0x5",
        "slow:100001x1",
        "slow:1x60001",
        "slow:5",
        "slow:x",
        "slow:-1x5",
        "many:0",
        "many:100001",
        "many:1e3",
        "many:",
        "many:99999999999999999999",
    ] {
        assert_eq!(Hints::parse(bad).chunks, None, "{bad}");
    }
}

#[test]
fn tool_arguments_stay_as_written() {
    let text = r#"first tool:a{"x": 1, "s":"} tool:b{"}then tool:c-d_e.f{"n":{"m":[1, 2]}} tool:bare end"#;
    let expected = [("a", r#"{"x": 1, "s":"} tool:b{"}"#), ("c-d_e.f", r#"{"n":{"m":[1, 2]}}"#), ("bare", "{}")];
    assert_eq!(calls(text), expected.map(|(name, json)| (name.to_owned(), json.to_owned())));
}

#[test]
fn a_malformed_tool_hint_is_prose() {
    for text in ["tool:", "tool:{}", "tool:x{", "tool:x{bad}", "tool:x[1]", "xtool:x{}"] {
        assert_eq!(calls(text), [], "{text}");
    }
    assert_eq!(calls(&format!("tool:{}{{}}", "n".repeat(129))), []);
}

#[test]
fn calls_are_bounded() {
    assert_eq!(calls(&"tool:x{} ".repeat(40)).len(), REPEATS_MAX);
}

#[test]
fn ask_is_a_call_among_others() {
    let names: Vec<String> = calls("tool:x{} ask").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "ask_user"]);
}

#[test]
fn a_fault_is_for_one_call() {
    let hints = Hints::parse("fail:503 cut:3 hello");
    assert!(hints.has_faults());
    assert_eq!((0..3).map(|n| hints.fail(n)).collect::<Vec<_>>(), [Some(503), None, None]);
    assert_eq!((0..3).map(|n| hints.cut(n)).collect::<Vec<_>>(), [None, Some(3), None]);
}

#[test]
fn faults_repeat_in_the_order_written_and_a_star_is_for_ever() {
    let hints = Hints::parse("fail:503 fail:429*");
    assert_eq!((0..4).map(|n| hints.fail(n)).collect::<Vec<_>>(), [Some(503), Some(429), Some(429), Some(429)]);
    let hints = Hints::parse("cut:0*");
    assert_eq!((hints.cut(0), hints.cut(9)), (Some(0), Some(0)));
}

#[test]
fn faults_out_of_bounds_are_prose() {
    for text in ["fail:200", "fail:399", "fail:600", "fail:70000", "fail:*", "fail:503**", "cut:100001", "cut:-1"] {
        assert!(!Hints::parse(text).has_faults(), "{text}");
    }
}

#[test]
fn flags_are_words() {
    let hints = Hints::parse("len usage quirks");
    assert!(hints.length && hints.usage && hints.quirks);
    let hints = Hints::parse("lens usages quirky");
    assert!(!(hints.length || hints.usage || hints.quirks));
}
