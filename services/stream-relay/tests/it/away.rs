//! Parts that are away, logs that are behind, and logs that are gone.

use crate::client::{Appender, SNAPSHOT, START, Seen, Viewer, cursor, step_finished, step_started, text};
use crate::proxy::Proxy;
use crate::world::{Relay, World, eventually, serve};
use runmesh_bus::{Batch, PublishOutcome, RunKey};
use runmesh_domain::Reason;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::id::RunId;
use runmesh_domain::log::Tail;
use runmesh_domain::message::Part;
use runmesh_domain::principal::{LeaseClaim, Principal};
use runmesh_domain::run::StateName;
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_response::Message as Answer;
use runmesh_wire::status::reason;
use runmesh_wire::{FromWire as _, IntoWire as _};
use std::path::PathBuf;
use std::time::Duration;

async fn nats() -> NatsServer {
    NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap()
}

/// Two relays, of which the second reaches NATS through a proxy.
struct Apart {
    world: World,
    proxy: Proxy,
    here: Relay,
    there: Relay,
    _nats: NatsServer,
}

async fn apart() -> Apart {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let proxy = Proxy::before(nats.url()).await;
    let mut config = world.config().await;
    config.nats_url = format!("nats://{}", proxy.address);
    let (here, there) = (world.relay().await, serve(config).await);
    Apart { world, proxy, here, there, _nats: nats }
}

#[tokio::test]
async fn streams_go_on_over_a_restart_of_nats() {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let (here, there) = (world.relay().await, world.relay().await);
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let mut viewer = there.client.attach(&who, run, START).await;
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "before ")]).await;
    appender.settled().await;
    viewer.until(|seen| seen.view.text() == "before ").await;
    nats.kill().await.unwrap();
    appender.send(vec![text(1, "during ")]).await;
    let early = tokio::time::timeout(Duration::from_millis(300), appender.answers.message()).await;
    assert!(early.is_err(), "acked without a log: {early:?}");
    nats.restart().await.unwrap();
    appender.settled().await;
    appender.send(vec![text(1, "after")]).await;
    appender.settled().await;
    world.finish_untold(lease, "before during after", None).await;
    eventually("the log is told", || async {
        let rows = world.log_rows(lease.run).await;
        world.bus.log().catch_up(rows.ids, &rows.known()).await.ok()
    })
    .await;
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.events.len()), ("before during after", 7));
    assert!(seen.resets.is_empty());
}

#[tokio::test]
async fn a_viewer_that_comes_while_the_log_is_away_is_told_and_waits() {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    nats.kill().await.unwrap();
    let mut viewer = relay.client.attach(&who, run, START).await;
    viewer.until(|seen| seen.statuses.iter().any(|status| status.log_unavailable)).await;
    nats.restart().await.unwrap();
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "hello")]).await;
    let seen = viewer.until(|seen| seen.view.text() == "hello").await;
    assert_eq!((seen.view.seq, seen.resets.len()), (3, 0));
}

#[tokio::test]
async fn an_end_that_nobody_told_the_log_of_reaches_its_viewers() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let viewer = relay.client.attach(&who, run, START).await;
    world.finish_untold(lease, "told by the relay", None).await;
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.view.seq), ("told by the relay", 3));
    assert!(seen.resets.is_empty());
}

#[tokio::test]
async fn an_ended_run_whose_log_is_behind_is_told_at_attach() {
    let world = World::new().await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    world.finish_untold(lease, "whole", None).await;
    let seen = relay.client.attach(&who, run, START).await.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.events.len(), seen.resets.len()), ("whole", 3, 0));
}

/// A run that ended and was published, and a relay whose NATS holds nothing of it any more.
async fn aged_out() -> (World, NatsServer, Relay, LeaseClaim) {
    let world = World::new().await;
    let (writer, run) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = writer.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "kept")]).await;
    let acked = appender.settled().await.position.unwrap();
    world.finish(lease, "kept", acked.from_wire("").ok()).await;
    world.system(move |tx| Box::pin(async move { runmesh_store::outbox::mark(tx, &[(run, 3)], &[]).await })).await;
    let empty = nats().await;
    let mut config = world.config().await;
    config.nats_url = empty.url().to_owned();
    let relay = serve(config).await;
    (world, empty, relay, lease)
}

#[tokio::test]
async fn an_attempt_of_a_run_that_is_over_is_stopped_when_its_log_has_aged_out() {
    let (_world, _nats, relay, lease) = aged_out().await;
    let mut zombie = relay.client.append_as(&Principal::Lease(lease)).await.unwrap();
    zombie.open(lease.run, lease.fence).await;
    let Some(Answer::Stopped(stopped)) = zombie.answer().await.unwrap() else { panic!("it may append") };
    assert_eq!(stopped.reason(), pb::append_stopped::Reason::Ended);
}

#[tokio::test]
async fn postgres_answers_for_a_run_whose_log_has_aged_out() {
    let (world, _nats, relay, lease) = aged_out().await;
    let (who, run) = (world.person(), lease.run);
    let seen = relay.client.attach(&who, run, SNAPSHOT).await.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.from_database, seen.resets.len()), ("kept", true, 0));
    let again = relay.client.attach(&who, run, cursor(&seen.cursor)).await.to_end().await;
    assert_eq!((again.events.len(), again.resets.len()), (0, 0), "the cursor covers the end that the snapshot showed");
    let begun = Cursor::start(lease.thread, run).at(1, runmesh_domain::chain::Chain(9)).to_string();
    for from in [START, cursor(&begun)] {
        let seen = relay.client.attach(&who, run, from).await.to_end().await;
        assert_eq!((seen.view.text().as_str(), seen.from_database), ("kept", true));
        assert_eq!(seen.resets, [pb::reset::Reason::LogTruncated]);
        assert_eq!(seen.end.unwrap().reason(), pb::end::Reason::Finished);
    }
}

/// A run that ended, was published, and is looked at while NATS is away.
async fn ended_before_nats_left() -> (NatsServer, Relay, Viewer) {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    world.finish(lease, "whole", None).await;
    nats.kill().await.unwrap();
    let viewer = relay.client.attach(&who, run, START).await;
    (nats, relay, viewer)
}

#[tokio::test]
async fn the_log_of_an_ended_run_that_is_away_for_a_moment_is_waited_for() {
    let (nats, _relay, mut viewer) = ended_before_nats_left().await;
    viewer.until(|seen| seen.statuses.iter().any(|status| status.log_unavailable)).await;
    nats.restart().await.unwrap();
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.events.len(), seen.resets), ("whole", 3, Vec::new()));
}

#[tokio::test]
async fn a_log_that_stays_away_is_called_behind_and_not_truncated() {
    let (_nats, _relay, viewer) = ended_before_nats_left().await;
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.from_database), ("whole", true));
    assert_eq!(seen.resets, [pb::reset::Reason::LogBehind]);
}

#[tokio::test]
async fn who_comes_while_the_log_is_away_is_shown_the_journal_and_goes_on_when_it_is_back() {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    let acked = appender.settled().await.position.unwrap();
    appender.send(vec![text(1, "kept ")]).await;
    appender.settled().await;
    // The worker journals before it knows that the log has the words.
    world.journal(lease, 1, "kept ", acked.from_wire("").unwrap()).await;
    nats.kill().await.unwrap();
    let mut viewer = relay.client.attach(&who, run, SNAPSHOT).await;
    let seen = viewer.until(|seen| !seen.cursor.is_empty()).await;
    assert_eq!((seen.view.text().as_str(), seen.view.seq, seen.from_database), ("kept ", 2, true));
    assert_eq!(seen.view.state, Some(StateName::Running));
    nats.restart().await.unwrap();
    // The log shows the words once more, which are in the snapshot.
    let seen = viewer.until(|seen| seen.view.seq == 3).await;
    assert_eq!((seen.view.text().as_str(), seen.resets.len()), ("kept ", 0));
    let (mut appender, started) = relay.client.append(lease).await;
    assert_eq!(started.number, 2);
    appender.send(vec![step_finished(1, vec![Part::text("kept ").into_wire()]), step_started(2), text(2, "and on")]).await;
    appender.settled().await;
    let seen = viewer.until(|seen| seen.view.seq == 6).await;
    assert_eq!((seen.view.text().as_str(), seen.resets.len()), ("kept and on", 0));
}

#[tokio::test]
async fn coming_back_reads_what_is_missing_and_not_the_whole_log() {
    const PIECE: usize = 100 << 10;
    let Apart { world, proxy, here, there, _nats } = apart().await;
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    for _ in 0..40 {
        appender.send(vec![text(1, "x".repeat(PIECE))]).await;
    }
    appender.settled().await;
    let mut viewer = here.client.attach(&who, run, SNAPSHOT).await;
    let of_snapshot = viewer.until(|seen| !seen.cursor.is_empty()).await.clone();
    assert_eq!(of_snapshot.view.seq, 42);
    appender.send(vec![text(1, "last")]).await;
    appender.settled().await;
    let of_event = viewer.until(|seen| seen.view.seq == 43).await.clone();
    world.finish(lease, "done", None).await;
    for (seen, missing) in [(of_snapshot, 3), (of_event, 2)] {
        let before = proxy.answered();
        let seen = there.client.attach(&who, run, cursor(&seen.cursor)).await.going_on(Seen { events: Vec::new(), ..seen });
        let seen = seen.to_end().await;
        assert_eq!((seen.events.len(), seen.resets.len()), (missing, 0));
        let read = proxy.answered() - before;
        assert!(read < 20 * PIECE, "{read} bytes of {} were read", 40 * PIECE);
    }
}

/// A run that ends while NATS is away, with a viewer who saw it begin.
async fn ends_without_nats(text: &str) -> (NatsServer, Relay, Viewer) {
    let nats = nats().await;
    let world = World::on(nats.url().to_owned()).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let mut viewer = relay.client.attach(&who, run, START).await;
    viewer.until(|seen| seen.view.seq == 1).await;
    nats.kill().await.unwrap();
    world.finish_untold(lease, text, None).await;
    (nats, relay, viewer)
}

#[tokio::test]
async fn postgres_answers_when_the_log_stays_away_and_the_run_is_over() {
    let (_nats, _relay, viewer) = ends_without_nats("without a log").await;
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.from_database), ("without a log", true));
    assert_eq!(seen.resets, [pb::reset::Reason::LogBehind]);
    assert_eq!(seen.end.unwrap().reason(), pb::end::Reason::Finished);
}

/// An election in a NATS cluster takes four to nine seconds.
#[tokio::test]
async fn an_end_is_waited_for_while_the_log_is_away_for_an_elections_time() {
    let (nats, _relay, mut viewer) = ends_without_nats("after a while").await;
    let early = tokio::time::timeout(Duration::from_secs(9), viewer.until(|seen| !seen.resets.is_empty())).await;
    assert!(early.is_err(), "the log is called lost");
    nats.restart().await.unwrap();
    let seen = viewer.to_end().await;
    assert_eq!((seen.view.text().as_str(), seen.resets.len()), ("after a while", 0));
    assert_eq!(seen.end.unwrap().reason(), pb::end::Reason::Finished);
}

#[tokio::test]
async fn a_run_goes_on_when_nats_has_lost_everything() {
    let folder = Folder::new();
    let options = ServerOptions::new(DataDir::Persistent(folder.0.clone()));
    let nats = NatsServer::start(&options, &Silent).await.unwrap();
    let world = World::on(nats.url().to_owned()).await;
    let (relay, who, run) = (world.relay().await, world.person(), world.send().await);
    let lease = world.claim().await;
    let mut viewer = relay.client.attach(&who, run, START).await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), step_finished(1, vec![Part::text("kept ").into_wire()])]).await;
    let acked = appender.settled().await.position.unwrap();
    world.journal(lease, 1, "kept ", acked.from_wire("").unwrap()).await;
    viewer.until(|seen| seen.view.seq == 3).await;
    nats.stop().await.unwrap();
    folder.forget_streams();
    nats.restart().await.unwrap();
    let mut appender = begin_anew(&relay, appender, lease).await;
    appender.send(vec![step_started(2), text(2, "and on")]).await;
    appender.settled().await;
    let seen = viewer.until(|seen| seen.view.text().ends_with("and on")).await;
    assert!(seen.events.iter().any(|event| matches!(event, Event::LogRestarted { .. })) || !seen.resets.is_empty());
    let mut late = relay.client.attach(&who, run, SNAPSHOT).await;
    late.until(|seen| seen.view.text().starts_with("kept ")).await;
}

#[tokio::test]
async fn a_log_that_was_begun_anew_holds_the_journal() {
    let folder = Folder::new();
    let options = ServerOptions::new(DataDir::Persistent(folder.0.clone()));
    let nats = NatsServer::start(&options, &Silent).await.unwrap();
    let world = World::on(nats.url().to_owned()).await;
    let (relay, run) = (world.relay().await, world.send().await);
    let first = world.claim().await;
    let (mut appender, _) = relay.client.append(first).await;
    let told = || vec![step_finished(1, vec![Part::text("kept ").into_wire()])];
    appender.send(told()).await;
    let acked = appender.settled().await.position.unwrap();
    world.journal(first, 1, "kept ", acked.from_wire("").unwrap()).await;
    nats.stop().await.unwrap();
    folder.forget_streams();
    nats.restart().await.unwrap();
    eventually("the streams are back", || async { world.bus.ensure().await.ok() }).await;
    world.release(first).await;
    let second = world.claim().await;
    let (mut appender, started) = relay.client.append(second).await;
    assert_eq!((started.number, started.open_step_indexes), (0, vec![]), "the restart shows what is journaled");
    appender.send(vec![step_started(2), text(2, "and on")]).await;
    appender.settled().await;
    let mut viewer = relay.client.attach(&world.person(), run, SNAPSHOT).await;
    viewer.until(|seen| seen.view.text() == "kept and on").await;
}

#[tokio::test]
async fn what_was_said_while_a_relay_was_cut_off_reaches_its_viewers() {
    let Apart { world, proxy, here, there, _nats } = apart().await;
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let mut viewer = there.client.attach(&who, run, START).await;
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(vec![step_started(1)]).await;
    viewer.until(|seen| seen.view.seq == 2).await;
    proxy.cut();
    for word in 0..5 {
        appender.send(vec![text(1, format!("{word} "))]).await;
        appender.settled().await;
    }
    let read = tokio::time::timeout(Duration::from_millis(200), viewer.until(|seen| seen.view.seq > 2)).await;
    assert!(read.is_err(), "the relay was not cut off");
    proxy.mend();
    // Nothing more is said: the relay must look by itself.
    let seen = viewer.until(|seen| seen.view.seq == 7).await;
    assert_eq!((seen.view.text().as_str(), seen.resets.len()), ("0 1 2 3 4 ", 0));
}

#[tokio::test]
async fn last_words_whose_messages_were_lost_reach_viewers_while_the_run_is_quiet() {
    let Apart { world, proxy, here, there, _nats } = apart().await;
    let (who, run) = (world.person(), world.send().await);
    let lease = world.claim().await;
    let mut viewer = there.client.attach(&who, run, START).await;
    let (mut appender, _) = here.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "first ")]).await;
    appender.settled().await;
    viewer.until(|seen| seen.view.seq == 3).await;
    proxy.lose_messages();
    appender.send(vec![text(1, "last")]).await;
    appender.settled().await;
    // Nothing more is said for a while, and no transition is made: a tool runs, or the model thinks.
    let seen = viewer.until(|seen| seen.view.seq == 4).await;
    assert_eq!((seen.view.text().as_str(), seen.resets.len()), ("first last", 0));
}

#[tokio::test]
async fn a_tail_from_before_a_loss_is_never_written_onto() {
    let folder = Folder::new();
    let options = ServerOptions::new(DataDir::Persistent(folder.0.clone()));
    let nats = NatsServer::start(&options, &Silent).await.unwrap();
    let world = World::on(nats.url().to_owned()).await;
    let (relay, run) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    let key = RunKey::from(lease);
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), step_finished(1, vec![Part::text("kept ").into_wire()])]).await;
    let acked = appender.settled().await.position.unwrap();
    world.journal(lease, 1, "kept ", acked.from_wire("").unwrap()).await;
    let old = world.bus.log().tail(key).await.unwrap();
    nats.stop().await.unwrap();
    folder.forget_streams();
    nats.restart().await.unwrap();
    eventually("the streams are back", || async { world.bus.ensure().await.ok() }).await;
    // The new stream comes to the very sequence that the relay remembers, with other content.
    let filler = RunKey { run: RunId::from_uuid(uuid::Uuid::now_v7()), ..key };
    let mut tail = Tail::default();
    while tail.stream_seq + 1 < old.stream_seq {
        let batch = Batch::after(filler.run, tail, vec![b"filler".to_vec().into()]);
        let outcome = world.bus.log().publish(filler, &batch, tail.stream_seq).await.unwrap();
        let PublishOutcome::Stored { stream_seq } = outcome else { panic!("{outcome:?}") };
        tail = Tail { stream_seq, ..batch.tail };
    }
    let rows = world.log_rows(run).await;
    let position = rows.position;
    let restarted = world.bus.log().catch_up(rows.ids, &rows.known()).await.unwrap();
    assert_eq!(restarted.stream_seq, old.stream_seq, "the test must meet the coincidence");
    let mut appender = begin_anew(&relay, appender, lease).await;
    appender.send(vec![step_started(2), text(2, "and on")]).await;
    appender.settled().await;
    let end = world.bus.log().tail(key).await.unwrap();
    let mut replay = world.bus.log().replay(key, 0, end.stream_seq);
    let mut at = (position.seq, position.chain);
    while let Some(batch) = replay.next().await.unwrap() {
        assert_eq!((batch.first_seq - 1, batch.chain_before), at, "the log does not join");
        at = (batch.tail.seq, batch.tail.chain);
    }
    assert_eq!(at, (end.seq, end.chain));
}

/// An open stream whose acked events are lost ends so that its worker comes back, and hears that nothing of them is left.
async fn begin_anew(relay: &Relay, mut open: Appender, lease: LeaseClaim) -> Appender {
    open.send(vec![step_started(2)]).await;
    let refused = open.answer().await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::Unavailable), "{refused:?}");
    let (appender, started) = relay.client.append(lease).await;
    assert_eq!(started.number, 0);
    appender
}

/// A folder for a server's data, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("runmesh-relay-{}", uuid::Uuid::now_v7().simple())))
    }

    /// Removes every folder of JetStream's store below.
    fn forget_streams(&self) {
        let mut left = vec![self.0.clone()];
        let mut found = 0;
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
                if entry.file_name().is_some_and(|name| name == "jetstream") {
                    std::fs::remove_dir_all(&entry).unwrap();
                    found += 1;
                } else {
                    left.push(entry);
                }
            }
        }
        assert!(found > 0, "the server keeps its streams elsewhere");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
