//! Appending: who may, what may not, and what happens when it is said twice.

use crate::client::{SNAPSHOT, START, run_finished, step_finished, step_started, text};
use crate::proxy::Proxy;
use crate::world::{World, eventually, serve};
use runmesh_domain::Reason;
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::limits::EVENT_BYTES_MAX;
use runmesh_domain::log::Position;
use runmesh_domain::message::Part;
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_stream_relay::Config;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_request::Message as Request;
use runmesh_wire::pb::stream::append_response::Message as Answer;
use runmesh_wire::status::reason;
use runmesh_wire::{FromWire as _, IntoWire as _};
use secrecy::ExposeSecret as _;

#[tokio::test]
async fn a_token_is_good_for_its_own_attempt_only() {
    let world = World::new().await;
    let (relay, run) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    let refused = relay.client.append_as(&world.person()).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::PermissionDenied));
    let other = world.send().await;
    for (run, fence) in [(other, lease.fence), (run, lease.fence + 1)] {
        let mut appender = relay.client.append_as(&Principal::Lease(lease)).await.unwrap();
        appender.open(run, fence).await;
        assert_eq!(reason(&appender.answer().await.unwrap_err()), Some(Reason::TokenMismatch));
    }
    let mut appender = relay.client.append_as(&Principal::Lease(lease)).await.unwrap();
    appender.send(vec![text(1, "x")]).await;
    assert_eq!(reason(&appender.answer().await.unwrap_err()), Some(Reason::InvalidField));
}

#[tokio::test]
async fn what_is_not_a_workers_to_write_is_refused() {
    let world = World::new().await;
    let relay = world.relay().await;
    world.send().await;
    let lease = world.claim().await;
    let giant = text(1, "x".repeat(EVENT_BYTES_MAX));
    for bad in [run_finished(), giant, pb::RunEvent::default()] {
        let (mut appender, _) = relay.client.append(lease).await;
        appender.send(vec![bad]).await;
        assert_eq!(reason(&appender.answer().await.unwrap_err()), Some(Reason::InvalidField));
    }
    let (mut appender, _) = relay.client.append(lease).await;
    appender.next = 5;
    appender.send(vec![text(1, "after a hole")]).await;
    assert_eq!(reason(&appender.answer().await.unwrap_err()), Some(Reason::InvalidField));
    let (appender, started) = relay.client.append(lease).await;
    assert_eq!((started.number, started.position.unwrap().seq), (0, 1));
    drop(appender);
}

#[tokio::test]
async fn what_was_said_before_is_skipped_through_any_relay() {
    let world = World::new().await;
    let (here, there) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let words = |from: i64, to: i64| (from..=to).map(|n| text(1, format!("{n} "))).collect::<Vec<_>>();
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(words(1, 20)).await;
    appender.settled().await;
    let (mut again, started) = there.client.append(lease).await;
    assert_eq!(started.number, 20);
    again.say(Request::Events(pb::AppendEvents { first_number: 1, events: words(1, 20) })).await;
    assert!(matches!(again.answer().await, Ok(Some(Answer::Ack(ack))) if ack.number == 20));
    again.say(Request::Events(pb::AppendEvents { first_number: 15, events: words(15, 25) })).await;
    again.next = 26;
    again.settled().await;
    // The first relay does not know of the second, and says some of it again.
    appender.send(words(21, 30)).await;
    appender.settled().await;
    let mut viewer = there.client.attach(&who, run, START).await;
    let seen = viewer.until(|seen| seen.view.seq >= 31).await;
    let wanted: String = (1..=30).map(|n| format!("{n} ")).collect();
    assert_eq!(seen.view.text(), wanted);
}

#[tokio::test]
async fn the_last_words_of_an_attempt_that_is_over_are_refused() {
    let world = World::new().await;
    let relay = world.relay().await;
    let (who, run) = (world.person(), world.send().await);
    let first = world.claim().await;
    let (mut zombie, _) = relay.client.append(first).await;
    zombie.send(vec![step_started(1), text(1, "first")]).await;
    zombie.settled().await;
    world.release(first).await;
    zombie.send(vec![text(1, "zombie")]).await;
    let stopped = |answer: Option<Answer>| match answer {
        Some(Answer::Stopped(stopped)) => stopped.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(stopped(zombie.answer().await.unwrap()), pb::append_stopped::Reason::Ended);
    let second = world.claim().await;
    let mut zombie = relay.client.append_as(&Principal::Lease(first)).await.unwrap();
    zombie.open(first.run, first.fence).await;
    assert_eq!(stopped(zombie.answer().await.unwrap()), pb::append_stopped::Reason::Fenced);
    world.finish(second, "answer", None).await;
    let mut late = relay.client.append_as(&Principal::Lease(second)).await.unwrap();
    late.open(second.run, second.fence).await;
    assert_eq!(stopped(late.answer().await.unwrap()), pb::append_stopped::Reason::Ended);
    let seen = relay.client.attach(&who, run, START).await.to_end().await;
    assert!(!format!("{:?}", seen.events).contains("zombie"));
}

#[tokio::test]
async fn open_calls_are_named_to_the_next_attempt() {
    let world = World::new().await;
    let (relay, _) = (world.relay().await, world.send().await);
    let first = world.claim().await;
    let call = |id: &str| Part::tool_call(id, "t", "{}").into_wire();
    let (mut appender, _) = relay.client.append(first).await;
    appender.send(vec![step_started(1), step_finished(1, vec![call("a"), call("b")])]).await;
    let done = pb::ToolCallFinished { step_index: 1, call_index: 0, content: "r".into(), is_error: false, path: String::new() };
    appender.send(vec![pb::RunEvent { kind: Some(pb::run_event::Kind::ToolCallFinished(done)) }, step_started(2)]).await;
    appender.settled().await;
    world.release(first).await;
    let second = world.claim().await;
    let (_, started) = relay.client.append(second).await;
    assert_eq!(started.open_calls, [pb::OpenCall { step_index: 1, call_index: 1, path: String::new() }]);
    assert_eq!(started.open_step_indexes, [2]);
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_acknowledged_is_begun_anew() {
    let world = World::new().await;
    let (relay, run) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    // The log holds one event, and its attempt knows of forty.
    let acked = Position { seq: 40, chain: Chain(7) };
    let (mut appender, started) = relay.client.append_after(lease, acked).await;
    let position = started.position.unwrap();
    assert_eq!((started.number, position.seq), (0, 41), "LogRestarted is the event after what was acknowledged");
    appender.send(vec![step_started(1), text(1, "once more")]).await;
    let acked = appender.settled().await.position.unwrap().from_wire("").unwrap();
    let mut late = relay.client.attach(&world.person(), run, SNAPSHOT).await;
    late.until(|seen| seen.view.text() == "once more" && seen.view.seq == 43).await;
    let (_, started) = relay.client.append_after(lease, acked).await;
    assert_eq!((started.number, started.position.unwrap().seq), (2, 43), "a log that holds it goes on");
}

#[tokio::test]
async fn steps_that_the_log_never_got_come_with_the_end_of_their_attempt() {
    let world = World::new().await;
    let (relay, run) = (world.relay().await, world.send().await);
    let first = world.claim().await;
    // The log was away meanwhile: the first attempt told nothing.
    world.journal(first, 1, "never told", Position::default()).await;
    let (_, started) = relay.client.append(first).await;
    assert!(started.open_step_indexes.is_empty(), "its own steps are an attempt's own to tell");
    world.release(first).await;
    let mut viewer = relay.client.attach(&world.person(), run, START).await;
    let seen = viewer.until(|seen| seen.view.text() == "never told").await;
    assert!(seen.events.iter().any(|event| matches!(event, Event::StepFinished { .. })), "nobody else published it");
    let second = world.claim().await;
    let (_, started) = relay.client.append(second).await;
    assert!(started.open_step_indexes.is_empty(), "nothing is left for the next attempt to settle");
    world.journal(second, 2, "its own", Position::default()).await;
    let (_, started) = relay.client.append(second).await;
    assert!(started.open_step_indexes.is_empty());
}

#[tokio::test]
async fn a_claim_that_nobody_told_the_log_of_is_told_by_the_relay() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let (_, lease): (_, LeaseClaim) = world.claim_untold().await;
    let (mut appender, started) = relay.client.append(lease).await;
    assert_eq!(started.position.unwrap().seq, 1);
    appender.send(vec![text(1, "x")]).await;
    appender.settled().await;
    let mut viewer = relay.client.attach(&who, run, START).await;
    viewer.until(|seen| seen.view.seq == 2).await;
}

#[tokio::test]
async fn everything_that_queues_up_goes_in_order_and_in_few_batches() {
    let world = World::new().await;
    let relay = world.relay().await;
    world.send().await;
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    let words: Vec<_> = (0..2_000).map(|n| text(1, format!("{n} "))).collect();
    for word in words.clone() {
        appender.send(vec![word]).await;
    }
    appender.settled().await;
    let key = runmesh_bus::RunKey::from(lease);
    let tail = world.bus.log().tail(key).await.unwrap();
    let (mut replay, mut batches, mut stored) = (world.bus.log().replay(key, 0, tail.stream_seq), 0, Vec::new());
    while let Some(batch) = replay.next().await.unwrap() {
        batches += 1;
        stored.extend(batch.events);
    }
    let sent: Vec<_> = words.iter().map(prost::Message::encode_to_vec).collect();
    assert!(stored[1..] == sent);
    assert!(batches < 1_000, "{batches} batches for 2,000 events");
}

#[tokio::test]
async fn a_database_that_is_away_for_a_moment_ends_no_append() {
    let world = World::new().await;
    world.send().await;
    let first = world.claim().await;
    world.release(first).await;
    // What attempts before it journaled is asked of Postgres.
    let second = world.claim().await;
    assert_eq!(second.run, first.run);
    let config = world.config().await;
    let (proxy, url) = Proxy::before_postgres(config.postgres_url.expose_secret()).await;
    let relay = serve(Config { postgres_url: url.into(), ..config }).await;
    proxy.cut();
    let mut appender = relay.client.append_as(&Principal::Lease(second)).await.unwrap();
    appender.open(second.run, second.fence).await;
    eventually("the relay has asked in vain, more than once", || async { (proxy.refused() > 3).then_some(()) }).await;
    proxy.mend();
    assert!(matches!(appender.answer().await.unwrap(), Some(Answer::Started(_))), "the stream has waited for it");
}

#[tokio::test]
async fn a_relay_whose_log_is_slow_repeats_its_last_ack() {
    let world = World::new().await;
    world.send().await;
    let lease = world.claim().await;
    let config = world.config().await;
    let proxy = Proxy::before(&config.nats_url).await;
    let relay = serve(Config { nats_url: format!("nats://{}", proxy.address), ..config }).await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    let last = appender.settled().await;
    proxy.slow_down();
    appender.send(vec![text(1, "late")]).await;
    let looks = proxy.looks();
    let mut sign = async || {
        let Some(Answer::Ack(sign)) = appender.answer().await.unwrap() else { panic!("not an ack") };
        assert_eq!(sign, last, "a sign of life, and no word of what is on its way");
    };
    sign().await;
    assert_eq!(proxy.looks(), looks, "the publish is waited for");
    while proxy.looks() == looks {
        sign().await;
    }
    // Now it looks at the log, which does not answer either.
    for _ in 0..3 {
        sign().await;
    }
    proxy.mend();
    assert_eq!(appender.settled().await.number, last.number + 1);
}
