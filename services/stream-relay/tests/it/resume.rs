//! Coming back with a cursor.

use crate::client::{START, Seen, cursor, step_started, text};
use crate::world::World;
use runmesh_domain::cursor::Cursor;
use runmesh_wire::pb::stream as pb;

#[tokio::test]
async fn a_client_that_hops_between_relays_sees_every_event_once() {
    let world = World::new().await;
    let relays = [world.relay().await, world.relay().await, world.relay().await];
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let mut seen = Seen::default();
    let (mut appender, _) = relays[0].client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    let mut whole = String::new();
    for hop in 0..30 {
        for part in 0..7 {
            let word = format!("{hop}.{part} ");
            whole.push_str(&word);
            appender.send(vec![text(1, word)]).await;
        }
        let from = if hop == 0 { START } else { cursor(&seen.cursor) };
        let mut viewer = relays[hop % 3].client.attach(&who, run, from).await.going_on(seen.clone());
        // Somewhere in the middle of what is there.
        let wanted = seen.view.seq + 1 + (hop as u64 * 5) % 7;
        seen = viewer.until(|seen| seen.view.seq >= wanted).await.clone();
    }
    appender.settled().await;
    world.finish(lease, &whole, None).await;
    let viewer = relays[1].client.attach(&who, run, cursor(&seen.cursor)).await.going_on(seen);
    let seen = viewer.to_end().await;
    assert_eq!((seen.events.len(), seen.resets.len()), (30 * 7 + 4, 0));
    assert_eq!(seen.view.text(), whole);
    // And once more with the last cursor: there is nothing left to say.
    let again = relays[2].client.attach(&who, run, cursor(&seen.cursor)).await.to_end().await;
    assert!(again.events.is_empty() && again.resets.is_empty());
}

#[tokio::test]
async fn a_drain_ends_streams_with_a_cursor_to_come_back_with() {
    let world = World::new().await;
    let (old, new) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = old.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "one ")]).await;
    appender.settled().await;
    let mut viewer = old.client.attach(&who, run, START).await;
    viewer.until(|seen| seen.view.seq == 3).await;
    assert!(old.life.drain(std::time::Duration::from_secs(10)).await, "the drain took too long");
    let seen = viewer.to_end().await;
    assert_eq!(seen.end.as_ref().unwrap().reason(), pb::end::Reason::Draining);
    assert!(appender.answer().await.is_err());
    let (mut appender, started) = new.client.append(lease).await;
    assert_eq!(started.number, 2);
    appender.send(vec![text(1, "two")]).await;
    appender.settled().await;
    let mut viewer = new.client.attach(&who, run, cursor(&seen.cursor)).await.going_on(seen);
    let seen = viewer.until(|seen| seen.view.seq == 4).await;
    assert_eq!((seen.view.text().as_str(), seen.events.len()), ("one two", 4));
}

#[tokio::test]
async fn a_hint_that_leads_elsewhere_costs_a_reading_and_nothing_else() {
    let world = World::new().await;
    let (relay, other) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for word in ["a", "b", "c", "d"] {
        appender.send(vec![text(1, word)]).await;
        appender.settled().await;
    }
    let mut viewer = relay.client.attach(&who, run, START).await;
    let middle = viewer.until(|seen| seen.view.seq >= 3).await.clone();
    world.finish(lease, "abcd", None).await;
    let whole = viewer.to_end().await;
    let at: Cursor = middle.cursor.parse().unwrap();
    for stream_seq in [0, 1, at.stream_seq - 1, at.stream_seq, at.stream_seq + 1, at.stream_seq + 1_000_000, u64::MAX] {
        let from = cursor(&Cursor { stream_seq, ..at }.to_string());
        let seen = other.client.attach(&who, run, from).await.going_on(middle.clone()).to_end().await;
        assert_eq!((&seen.view, &seen.events), (&whole.view, &whole.events), "with {stream_seq} for {}", at.stream_seq);
        assert!(seen.resets.is_empty());
    }
}
