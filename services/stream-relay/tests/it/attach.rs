//! The same run seen from everywhere: before, in the middle and after, through any relay.

use crate::client::{LIVE, SNAPSHOT, START, Seen, Viewer, cursor, step_started, text};
use crate::world::{World, soon};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::run::StateName;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_response::Frame;

fn assert_whole(seen: &Seen, text: &str) {
    assert_eq!(seen.view.text(), text);
    let end = seen.end.as_ref().unwrap();
    assert_eq!((end.reason(), end.state()), (pb::end::Reason::Finished, State::Completed));
    assert_eq!(seen.view.finished.as_ref().unwrap().state, StateName::Completed);
    assert_eq!(seen.cursor, end.cursor);
}

#[tokio::test]
async fn every_way_to_attach_shows_the_same_run() {
    let world = World::new().await;
    let (here, there) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let before = there.client.attach(&who, run, START).await;
    let before_by_snapshot = here.client.attach(&who, run, SNAPSHOT).await;
    let lease = world.claim().await;
    let (mut appender, started) = here.client.append(lease).await;
    assert_eq!((started.number, started.position.unwrap().seq), (0, 1));
    appender.send(vec![step_started(1)]).await;
    for word in 0..10 {
        appender.send(vec![text(1, format!("{word} "))]).await;
    }
    appender.settled().await;
    let middle = there.client.attach(&who, run, SNAPSHOT).await;
    let mut live = there.client.attach(&who, run, LIVE).await;
    live.frame().await.unwrap();
    for word in 10..20 {
        appender.send(vec![text(1, format!("{word} "))]).await;
    }
    appender.settled().await;
    let whole: String = (0..20).map(|word| format!("{word} ")).collect();
    world.finish(lease, &whole, None).await;
    for viewer in [before, before_by_snapshot, middle] {
        let seen = soon(viewer.to_end()).await;
        assert_whole(&seen, &whole);
        assert!(!seen.from_database && seen.resets.is_empty());
    }
    assert!(matches!(live.to_end().await.events.last(), Some(Event::RunFinished(_))));
    for relay in [&here, &there, &world.relay().await] {
        let after = relay.client.attach(&who, run, SNAPSHOT).await.to_end().await;
        assert_whole(&after, &whole);
        assert!(after.from_database);
        let from_start = relay.client.attach(&who, run, START).await.to_end().await;
        assert_whole(&from_start, &whole);
        assert_eq!((from_start.events.len(), from_start.view.seq), (24, 24));
        assert_eq!(after.view.seq, 24);
        let live = relay.client.attach(&who, run, LIVE).await.to_end().await;
        assert!(live.events.is_empty());
    }
}

#[tokio::test]
async fn a_late_viewer_of_ten_thousand_events_gets_their_text() {
    let world = World::new().await;
    let (here, there) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for chunk in 0..100 {
        appender.send((0..100).map(|n| text(1, format!("{chunk}.{n} "))).collect()).await;
        appender.settled().await;
    }
    let whole: String = (0..100).flat_map(|chunk| (0..100).map(move |n| format!("{chunk}.{n} "))).collect();
    for _ in 0..2 {
        let mut late = there.client.attach(&who, run, SNAPSHOT).await;
        let seen = late.until(|seen| !seen.cursor.is_empty()).await;
        assert_eq!((seen.view.text(), seen.events.len(), seen.view.seq), (whole.clone(), 0, 10_002));
    }
    let mut from_start = there.client.attach(&who, run, START).await;
    assert_eq!(from_start.until(|seen| seen.events.len() == 10_002).await.view.text(), whole);
}

#[tokio::test]
async fn a_viewer_that_does_not_read_misses_nothing() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let slow = relay.client.attach(&who, run, START).await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    // Far more than windows, rings and buffers hold.
    for _ in 0..100 {
        appender.send(vec![text(1, "x".repeat(100 << 10))]).await;
        appender.settled().await;
    }
    let whole = "x".repeat(100 * (100 << 10));
    world.finish(lease, "done", None).await;
    let seen = slow.to_end().await;
    assert_eq!(seen.events.len(), 104);
    let shown: String =
        seen.events.iter().map(|event| if let Event::TextDelta { text, .. } = event { text.as_str() } else { "" }).collect();
    assert!(shown == whole, "{} of {} bytes", shown.len(), whole.len());
    assert!(seen.resets.is_empty());
}

#[tokio::test]
async fn a_lost_attempt_leaves_nothing_in_the_text() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let first = world.claim().await;
    let viewer = relay.client.attach(&who, run, START).await;
    let (mut appender, _) = relay.client.append(first).await;
    appender.send(vec![step_started(1), text(1, "half a sen")]).await;
    appender.settled().await;
    world.release(first).await;
    let second = world.claim().await;
    let (mut appender, started) = relay.client.append(second).await;
    assert_eq!((started.number, started.open_step_indexes), (0, vec![1]));
    let retracted =
        pb::run_event::Kind::StepRetracted(pb::StepRetracted { step_index: 1, reason: "lost".into(), path: String::new() });
    appender.send(vec![pb::RunEvent { kind: Some(retracted) }, step_started(1), text(1, "a sentence")]).await;
    let ack = appender.settled().await;
    let mut late = relay.client.attach(&who, run, SNAPSHOT).await;
    assert_eq!(late.until(|seen| !seen.cursor.is_empty()).await.view.text(), "a sentence");
    world.finish(second, "a sentence", runmesh_wire::FromWire::from_wire(ack.position.unwrap(), "").ok()).await;
    let seen = viewer.to_end().await;
    assert_eq!(seen.view.text(), "a sentence");
    let fences =
        seen.events.iter().filter_map(|event| if let Event::AttemptStarted { fence, .. } = event { Some(*fence) } else { None });
    assert_eq!(fences.collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_live_viewer_that_left_before_the_first_event_misses_none() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    // While the run waits, and while it runs.
    let mut waiting = relay.client.attach(&who, run, LIVE).await;
    let from_waiting = first_cursor(&mut waiting).await;
    drop(waiting);
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "before ")]).await;
    appender.settled().await;
    let mut running = relay.client.attach(&who, run, LIVE).await;
    let from_running = first_cursor(&mut running).await;
    drop(running);
    appender.send(vec![text(1, "meanwhile")]).await;
    appender.settled().await;
    world.finish(lease, "before meanwhile", None).await;
    for (from, events) in [(from_waiting, 6), (from_running, 3)] {
        let viewer = relay.client.attach(&who, run, cursor(&from)).await;
        let at: Cursor = from.parse().unwrap();
        let held = Seen { view: RunView { seq: at.seq, chain: at.chain, ..RunView::default() }, cursor: from, ..Seen::default() };
        assert_eq!(viewer.going_on(held).to_end().await.events.len(), events);
    }
}

/// Where a stream that begins says that it does.
async fn first_cursor(viewer: &mut Viewer) -> String {
    match viewer.frame().await {
        Some(Frame::Progress(progress)) => progress.cursor,
        other => panic!("{other:?}"),
    }
}
