//! The run log from the worker's side: streams that break, logs that lose their tails, logs that are away.

use crate::fake::SIGN;
use crate::harness::{Assignment, Bench, http_tool};
use crate::runs::last_step;
use runmesh_domain::event::Event;
use runmesh_domain::message::plain_text;
use runmesh_domain::path::StepKey;
use runmesh_wire::pb::worker::finish_request::Outcome;
use std::time::{Duration, Instant};

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again() {
    let mut bench = Bench::new().await;
    bench.mesh.state().break_after = Some(7);
    bench.assign(Assignment::of("slow:40x2"));
    bench.start();
    let finish = bench.mesh.finished().await;
    let state = bench.mesh.state();
    assert_eq!(state.append_streams, 2, "the stream broke once");
    assert!(matches!(state.opened_after[..], [0, 1..=7]), "what was acknowledged is said: {:?}", state.opened_after);
    assert_eq!(state.view().text(), plain_text(&last_step(&finish).parts));
    let deltas = state.log.iter().filter(|event| matches!(event, Event::TextDelta { .. })).count();
    assert_eq!(state.log.len(), deltas + 1, "nothing came twice");
}

#[tokio::test]
async fn a_relay_that_stands_still_is_left_for_another() {
    let mut bench = Bench::new().await;
    bench.mesh.state().still_after = Some(5);
    bench.assign(Assignment::of("slow:150x40"));
    bench.start();
    // While the run goes on, and long before a connection would be known to be dead.
    let went_on = |state: &crate::fake::State| state.append_streams == 2 && state.log.len() > 20 && state.finishes.is_empty();
    bench.mesh.until("the events go another way", went_on).await;
    let finish = bench.mesh.finished().await;
    let state = bench.mesh.state();
    assert_eq!(state.append_streams, 2, "the second relay answers and is kept");
    assert_eq!(state.view().text(), plain_text(&last_step(&finish).parts));
    let deltas = state.log.iter().filter(|event| matches!(event, Event::TextDelta { .. })).count();
    assert_eq!(state.log.len(), deltas + 1, "nothing came twice");
}

#[tokio::test]
async fn a_relay_whose_log_is_slow_is_kept() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("slow:200x20"));
    bench.start();
    bench.mesh.until("text flows", |state| state.log.len() > 5).await;
    bench.mesh.state().slow_log = true;
    // For twice as long as a relay may be silent.
    let signs = Duration::from_secs(3).as_millis() / SIGN.as_millis();
    bench.mesh.until("the relay repeats its ack", |state| state.signs as u128 > signs).await;
    bench.mesh.state().slow_log = false;
    let finish = bench.mesh.finished().await;
    let state = bench.mesh.state();
    assert_eq!(state.append_streams, 1, "it gave signs of life");
    assert_eq!(state.view().text(), plain_text(&last_step(&finish).parts));
}

#[tokio::test]
async fn a_relay_that_gives_signs_of_life_and_acknowledges_nothing_more_is_left_for_another() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("slow:400x20"));
    bench.start();
    bench.mesh.until("text flows", |state| state.log.len() > 5).await;
    bench.mesh.state().slow_log = true;
    bench.mesh.until("the events go another way", |state| state.append_streams == 2).await;
    bench.mesh.state().slow_log = false;
    let finish = bench.mesh.finished().await;
    let state = bench.mesh.state();
    assert_eq!(state.view().text(), plain_text(&last_step(&finish).parts));
}

#[tokio::test]
async fn a_log_that_lost_its_events_is_told_the_state() {
    let mut bench = Bench::new().await;
    bench.assign(Assignment::of("tool:echo{} slow:60x5").tool(http_tool("echo", bench.tool_url("echo"), true)));
    bench.start();
    let in_second_step = |state: &crate::fake::State| {
        state.log.iter().filter(|event| matches!(event, Event::TextDelta { step: StepKey { step_index: 2, .. }, .. })).count()
            >= 5
    };
    bench.mesh.until("the second step speaks", in_second_step).await;
    {
        let mut state = bench.mesh.state();
        state.log.clear();
        state.break_after = Some(0);
    }
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    let state = bench.mesh.state();
    assert!(matches!(state.log[0], Event::StepFinished { step: StepKey { step_index: 1, .. }, .. }), "{:?}", state.log[0]);
    assert!(matches!(state.log[1], Event::ToolCallFinished { step: StepKey { step_index: 1, .. }, .. }));
    assert_eq!(state.view().steps[&StepKey::top(2)].text, plain_text(&last_step(&finish).parts));
}

#[tokio::test]
async fn a_log_that_is_away_delays_a_run_by_a_second_at_most() {
    let mut bench = Bench::new().await;
    bench.mesh.state().log_away = true;
    bench.assign(Assignment::of("tool:echo{} many:5").tool(http_tool("echo", bench.tool_url("echo"), true)));
    let began = Instant::now();
    bench.start();
    let finish = bench.mesh.finished().await;
    assert_eq!(finish.outcome(), Outcome::Completed);
    assert_eq!(finish.acked.unwrap().seq, 0);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_log_that_comes_back_gets_everything() {
    let mut bench = Bench::new().await;
    bench.mesh.state().log_away = true;
    bench.assign(Assignment::of("slow:100x10"));
    bench.start();
    bench.mesh.until("the worker has the run", |state| !state.acks.is_empty()).await;
    bench.mesh.state().log_away = false;
    let finish = bench.mesh.finished().await;
    assert_eq!(bench.mesh.state().view().text(), plain_text(&last_step(&finish).parts));
}
