//! Words from outside: the provider's key is never in them, and whatever they hold, the run ends.

use crate::harness::{Assignment, Bench, KEY, http_tool};
use runmesh_wire::pb::worker::FinishRequest;
use runmesh_wire::pb::worker::finish_request::Outcome;

/// Everything that leaves the attempt: its end and its events.
async fn everything(bench: &Bench) -> (FinishRequest, String) {
    let finish = bench.mesh.finished().await;
    let state = bench.mesh.state();
    let all = format!("{finish:?} {:?} {:?}", state.ever, state.recorded);
    (finish, all)
}

fn piece(bytes: usize) -> &'static str {
    &KEY[..bytes]
}

#[tokio::test]
async fn the_key_in_an_error_frame_is_masked_everywhere() {
    let shown = format!("{}…{}", piece(6), &KEY[KEY.len() - 4..]);
    let frame = format!(
        r#"many:2 frame:{{"choices":[{{"delta":{{"content":"half"}}}}]}} frame:{{"error":{{"message":"bad key {KEY}, that is {shown}"}}}}"#
    );
    let bench = Bench::with(Assignment::of(&frame)).await;
    let (finish, all) = everything(&bench).await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "MODEL_UNAVAILABLE"));
    assert!(finish.detail.ends_with("bad key [key], that is [key]"), "{}", finish.detail);
    for kind in ["ModelRetrying", "StepRetracted"] {
        assert!(all.contains(kind), "{kind} carries the words");
    }
    assert!(!all.contains(piece(12)) && !all.contains("WXYZ"), "{all}");
}

#[tokio::test]
async fn a_nul_in_an_error_frame_ends_the_run_with_the_providers_words() {
    let bench = Bench::with(Assignment::of(r#"frame:{"error":{"message":"bad \u0000 byte"}}"#)).await;
    let (finish, _) = everything(&bench).await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "MODEL_UNAVAILABLE"));
    assert!(finish.detail.contains("bad \u{fffd} byte"), "{}", finish.detail);
    assert_eq!(bench.model.calls(), 3);
}

#[tokio::test]
async fn an_end_that_is_refused_is_said_without_its_words() {
    for (refused, detail) in [(0, "401"), (1, "the mesh refused"), (3, "")] {
        let bench = Bench::new().await;
        bench.mesh.state().refused_finishes = refused;
        bench.assign(Assignment::of("fail:401*"));
        let mut bench = bench;
        bench.start();
        if refused > 1 {
            // Three refusals are more than there are ways to say it; the attempt gives up, and does not ask for ever.
            bench.mesh.until("every way was tried", |state| state.refused_finishes <= 1).await;
            continue;
        }
        let finish = bench.mesh.finished().await;
        assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "MODEL_REJECTED"));
        assert!(finish.detail.contains(detail), "{}", finish.detail);
        assert_eq!(bench.model.calls(), 1);
    }
}

#[tokio::test]
async fn a_last_step_that_is_refused_ends_the_run_all_the_same() {
    for (refused, reason) in [(1, "STEP_REFUSED"), (2, "STEP_REFUSED")] {
        let mut bench = Bench::new().await;
        bench.mesh.state().refused_finishes = refused;
        bench.assign(Assignment::of("many:2"));
        bench.start();
        let finish = bench.mesh.finished().await;
        assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, reason));
        assert_eq!(finish.last_step, None);
        assert_eq!(bench.model.calls(), 1, "the model is not asked again");
    }
}

#[tokio::test]
async fn a_step_that_is_refused_ends_the_run() {
    let mut bench = Bench::new().await;
    bench.mesh.state().refuse_steps = true;
    bench.assign(Assignment::of("tool:echo{}").tool(http_tool("echo", bench.tool_url("echo"), false)));
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!((finish.outcome(), finish.reason.as_str()), (Outcome::Failed, "STEP_REFUSED"));
    assert_eq!((bench.model.calls(), bench.model.effects_total()), (1, 0));
}

#[tokio::test]
async fn what_a_provider_wants_back_comes_back() {
    for hint in ["signed", "thinks", "signed thinks"] {
        let mut bench = Bench::new().await;
        bench.assign(Assignment::of(&format!("{hint} tool:echo{{}} tool:echo{{}}")).tool(http_tool(
            "echo",
            bench.tool_url("echo"),
            false,
        )));
        bench.start();
        let (finish, all) = everything(&bench).await;
        assert_eq!(finish.outcome(), Outcome::Completed, "{hint}: {finish:?}");
        assert_eq!(bench.model.calls(), 2);
        let log = format!("{:?}", bench.mesh.state().log);
        assert!(!log.contains("signature-of") && all.contains("signature-of") == hint.contains("signed"), "{log}");
    }
}

#[tokio::test]
async fn a_bad_name_does_not_end_the_run() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("tool:functions.echo{}").tool(http_tool("echo", bench.tool_url("echo"), false)));
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed, "{finish:?}");
    assert_eq!(bench.model.effects_total(), 0, "no tool of another name ran");
    let prompt = bench.model.received().pop().unwrap().body().to_string();
    assert!(prompt.contains(r#""name":"functions_echo""#) && prompt.contains("functions.echo"), "{prompt}");
}

#[tokio::test]
async fn numbers_reach_the_tool_and_the_next_prompt_digit_for_digit() {
    let exact = r#"{"id":90071992547409930000000000000000000000000000000000000000001,"user":725653563933458433,"x":1e400,"y":-0,"z":1.50}"#;
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of(&format!("tool:echo{exact}")).tool(http_tool("echo", bench.tool_url("echo"), false)));
    bench.start();
    let (finish, all) = everything(&bench).await;
    assert_eq!(finish.outcome(), Outcome::Completed, "{finish:?}");
    let quoted = format!("{:?}", format!("{{\"echo\":{exact},\"n\":1}}"));
    assert!(all.contains(&quoted), "{all}");
    let prompt = bench.model.received().pop().unwrap().body().to_string();
    assert!(prompt.contains(&format!("{exact:?}")), "{prompt}");
}
