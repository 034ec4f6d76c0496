//! Threads: turns one after the other, the wait between them, and coming back.

use crate::client::{step_started, text};
use crate::world::{World, serve, soon};
use runmesh_domain::Reason;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::StateName;
use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
use runmesh_store::{runs, threads};
use runmesh_stream_relay::Config;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_thread_request::From;
use runmesh_wire::pb::stream::attach_thread_response::Frame;
use runmesh_wire::status::reason;
use tonic::Streaming;
use uuid::Uuid;

const SNAPSHOT: Option<From> = None;

fn cursor(text: &str) -> Option<From> {
    Some(From::Cursor(text.to_owned()))
}

/// What a stream of a thread came to.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Each turn with its events; the numbers of the events are checked.
    turns: Vec<(i64, Vec<Event>)>,
    cursor: String,
    end: Option<pb::end::Reason>,
}

impl Told {
    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Turn(turn) => self.turns.push((turn.turn_number, Vec::new())),
            Frame::Events(events) => {
                let (_, told) = self.turns.last_mut().unwrap();
                assert_eq!(events.first_seq, i64::try_from(told.len()).unwrap() + 1, "a hole or a repeat");
                told.extend(events.events.into_iter().map(|event| event.from_wire("").unwrap()));
                self.cursor = events.cursor;
            }
            Frame::Progress(progress) if !progress.cursor.is_empty() => self.cursor = progress.cursor,
            Frame::End(end) => {
                self.end = Some(end.reason());
                self.cursor = end.cursor;
            }
            Frame::Snapshot(_) | Frame::Status(_) | Frame::Progress(_) => {}
            Frame::Reset(reset) => panic!("{reset:?}"),
        }
    }

    fn ended(&self) -> Vec<(i64, StateName)> {
        let end = |events: &Vec<Event>| match events.last() {
            Some(Event::RunFinished(finished)) => Some(finished.state),
            _ => None,
        };
        self.turns.iter().filter_map(|(number, events)| Some((*number, end(events)?))).collect()
    }

    async fn until(&mut self, frames: &mut Streaming<pb::AttachThreadResponse>, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            let response = soon(frames.message()).await.unwrap();
            self.take(response.unwrap_or_else(|| panic!("ended early: {self:?}")).frame.unwrap());
        }
    }
}

async fn answer(world: &World, relay: &crate::world::Relay, words: &str) -> LeaseClaim {
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, words)]).await;
    appender.settled().await;
    world.finish(lease, words, None).await;
    lease
}

#[tokio::test]
async fn turns_come_one_after_the_other_and_the_canceled_one_too() {
    let world = World::new().await;
    let (here, there) = (world.relay().await, world.relay().await);
    let thread = world.thread.to_string();
    let mut frames = here.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.unwrap();
    let mut told = Told::default();
    told.until(&mut frames, |told| !told.cursor.is_empty()).await;
    let before_all = told.cursor.clone();
    world.send().await;
    let second = world.send().await;
    world.send().await;
    let (org, user) = (world.org, world.user);
    // Nobody tells its log.
    world.system(move |tx| Box::pin(async move { runs::cancel(tx, org, user, second).await })).await;
    for words in ["one", "three"] {
        answer(&world, &there, words).await;
    }
    told.until(&mut frames, |told| told.ended().len() == 3).await;
    let all = [(1, StateName::Completed), (2, StateName::Canceled), (3, StateName::Completed)];
    assert_eq!(told.ended(), all);
    // The same to whoever comes late, and nothing to whoever has all of it.
    let mut late = Told::default();
    let mut frames_of_late = there.client.attach_thread(&world.person(), &thread, cursor(&before_all)).await.unwrap();
    late.until(&mut frames_of_late, |late| late.ended().len() == 3).await;
    assert_eq!(late.turns, told.turns);
    let mut again = Told::default();
    let mut frames = there.client.attach_thread(&world.person(), &thread, cursor(&told.cursor)).await.unwrap();
    again.until(&mut frames, |again| !again.cursor.is_empty()).await;
    let (came_with, stands_at): (Cursor, Cursor) = (told.cursor.parse().unwrap(), again.cursor.parse().unwrap());
    assert_eq!((again.turns.len(), stands_at), (0, came_with.at_end()));
}

#[tokio::test]
async fn an_idle_thread_shows_what_comes_next_however_long_it_was_left() {
    let world = World::new().await;
    let relay = world.relay().await;
    let thread = world.thread.to_string();
    world.send().await;
    answer(&world, &relay, "one").await;
    let mut told = Told::default();
    let mut frames = relay.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.unwrap();
    told.until(&mut frames, |told| !told.cursor.is_empty()).await;
    drop(frames);
    world.send().await;
    answer(&world, &relay, "two").await;
    let mut frames = relay.client.attach_thread(&world.person(), &thread, cursor(&told.cursor)).await.unwrap();
    told.until(&mut frames, |told| !told.ended().is_empty()).await;
    assert_eq!(told.ended(), [(2, StateName::Completed)]);
    // The cursor of an accepted message fits too.
    let third = world.send().await;
    answer(&world, &relay, "three").await;
    let accepted = Cursor::start(world.thread, third).to_string();
    let mut told = Told::default();
    let mut frames = relay.client.attach_thread(&world.person(), &thread, cursor(&accepted)).await.unwrap();
    told.until(&mut frames, |told| !told.ended().is_empty()).await;
    assert_eq!(told.ended(), [(3, StateName::Completed)]);
}

#[tokio::test]
async fn a_turn_that_was_seen_to_its_end_is_not_shown_again_when_its_log_is_gone() {
    let world = World::new().await;
    let relay = world.relay().await;
    let thread = world.thread.to_string();
    let run = world.send().await;
    let mut told = Told::default();
    let mut frames = relay.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.unwrap();
    answer(&world, &relay, "one").await;
    told.until(&mut frames, |told| !told.ended().is_empty()).await;
    relay.life.stop();
    told.until(&mut frames, |told| told.end.is_some()).await;
    world.system(move |tx| Box::pin(async move { runmesh_store::outbox::mark(tx, &[(run, 3)], &[]).await })).await;
    // Another log, which never had the run.
    let empty = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
    let without_log = serve(Config { nats_url: empty.url().to_owned(), ..world.config().await }).await;
    let mut idle = Told::default();
    let mut frames = without_log.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.unwrap();
    idle.until(&mut frames, |idle| !idle.cursor.is_empty()).await;
    for seen in [&told.cursor, &idle.cursor] {
        let mut frames = without_log.client.attach_thread(&world.person(), &thread, cursor(seen)).await.unwrap();
        let mut again = Told::default();
        again.until(&mut frames, |again| !again.cursor.is_empty()).await;
        assert_eq!(again.turns, [], "{seen}");
    }
    // One who saw its words and not its end gets all of it.
    let begun = Cursor::start(world.thread, run).at(3, runmesh_domain::chain::Chain(9)).to_string();
    let mut frames = without_log.client.attach_thread(&world.person(), &thread, cursor(&begun)).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 3 {
        came.push(soon(frames.message()).await.unwrap().unwrap().frame.unwrap());
    }
    assert!(matches!(came[..], [Frame::Turn(_), Frame::Progress(_) | Frame::Reset(_), ..]), "{came:?}");
}

#[tokio::test]
async fn a_live_viewer_that_left_before_the_first_event_misses_none() {
    let world = World::new().await;
    let (relay, thread) = (world.relay().await, world.thread.to_string());
    world.send().await;
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![step_started(1), text(1, "before ")]).await;
    appender.settled().await;
    let live = Some(From::Live(pb::FromLive {}));
    let mut frames = relay.client.attach_thread(&world.person(), &thread, live).await.unwrap();
    let Some(Frame::Turn(turn)) = soon(frames.message()).await.unwrap().unwrap().frame else { panic!("a turn comes first") };
    assert_eq!(turn.cursor.parse::<Cursor>().unwrap().seq, 3);
    drop(frames);
    appender.send(vec![text(1, "meanwhile")]).await;
    appender.settled().await;
    world.finish(lease, "before meanwhile", None).await;
    let mut frames = relay.client.attach_thread(&world.person(), &thread, cursor(&turn.cursor)).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 3 {
        let frame = soon(frames.message()).await.unwrap().unwrap().frame.unwrap();
        if let Frame::Events(events) = frame {
            came.extend((events.first_seq..).zip(events.events));
        }
    }
    assert_eq!(came.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [4, 5, 6]);
}

#[tokio::test]
async fn a_thread_that_is_deleted_or_a_relay_that_leaves_ends_the_stream() {
    let world = World::new().await;
    let (leaving, relay) = (world.relay().await, world.relay().await);
    let thread = world.thread.to_string();
    let mut drained = leaving.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.unwrap();
    leaving.life.stop();
    let mut told = Told::default();
    told.until(&mut drained, |told| told.end.is_some()).await;
    assert_eq!(told.end, Some(pb::end::Reason::Draining));
    let mut frames = relay.client.attach_thread(&world.person(), &thread, cursor(&told.cursor)).await.unwrap();
    let (org, user, id) = (world.org, world.user, world.thread);
    world.system(move |tx| Box::pin(async move { threads::delete(tx, org, user, id).await })).await;
    told.until(&mut frames, |told| told.end == Some(pb::end::Reason::Finished)).await;
    let refused = relay.client.attach_thread(&world.person(), &thread, SNAPSHOT).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::NotFound));
}

#[tokio::test]
async fn what_is_not_ones_own_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    let (relay, thread) = (world.relay().await, world.thread.to_string());
    let refused = async |who, thread: &str, from| {
        let refused = relay.client.attach_thread(who, thread, from).await.err().unwrap();
        reason(&refused)
    };
    let (own, foreign) = (world.person(), other.person());
    assert_eq!(refused(&foreign, &thread, SNAPSHOT).await, Some(Reason::NotFound));
    assert_eq!(
        refused(&foreign, &thread, cursor(&Cursor::start(world.thread, RunId::from_uuid(Uuid::nil())).to_string())).await,
        Some(Reason::NotFound)
    );
    let none = ThreadId::from_uuid(Uuid::now_v7()).to_string();
    assert_eq!(refused(&own, &none, SNAPSHOT).await, Some(Reason::NotFound));
    for bad in ["", "thr_*", "run_00000000000000000000000000000001"] {
        assert_eq!(refused(&own, bad, SNAPSHOT).await, Some(Reason::InvalidField), "{bad:?}");
    }
    let run = other.send().await;
    let theirs = Cursor::start(other.thread, run).to_string();
    for bad in ["", "x", theirs.as_str()] {
        assert_eq!(refused(&own, &thread, cursor(bad)).await, Some(Reason::InvalidCursor), "{bad:?}");
    }
    let smuggled = Cursor::start(world.thread, run).to_string();
    assert_eq!(refused(&own, &thread, cursor(&smuggled)).await, Some(Reason::NotFound), "a run of another org does not exist");
    let lease = other.claim().await;
    let as_worker = runmesh_domain::principal::Principal::Lease(lease);
    assert_eq!(refused(&as_worker, &thread, SNAPSHOT).await, Some(Reason::PermissionDenied));
}
