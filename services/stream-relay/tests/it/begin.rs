//! Who may attach, where a stream may begin, and what the first frame is.

use crate::client::{SNAPSHOT, START, cursor};
use crate::world::{World, serve};
use runmesh_domain::Reason;
use runmesh_domain::chain::Chain;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{OrgId, RunId, UserId};
use runmesh_domain::principal::Principal;
use runmesh_wire::pb::run::run::State;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_response::Frame;
use runmesh_wire::status::reason;
use uuid::Uuid;

#[tokio::test]
async fn another_orgs_run_does_not_exist() {
    let (world, other) = (World::new().await, World::new().await);
    let (relay, run) = (world.relay().await, world.send().await);
    let nobody = Principal::User { org: world.org, user: UserId::of_subject("test", "mallory") };
    for who in [other.person(), nobody, Principal::User { org: OrgId::of_name("none"), user: world.user }] {
        let refused = relay.client.try_attach(&who, &run.to_string(), SNAPSHOT).await.err().unwrap();
        assert_eq!(reason(&refused), Some(Reason::NotFound), "{refused:?}");
    }
    let none = RunId::from_uuid(Uuid::now_v7()).to_string();
    let refused = relay.client.try_attach(&world.person(), &none, SNAPSHOT).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::NotFound));
}

#[tokio::test]
async fn bad_ids_and_cursors_are_refused() {
    let world = World::new().await;
    let (relay, run) = (world.relay().await, world.send().await);
    for bad in ["", "run_*", "run_>", "run_a.b", "thr_00000000000000000000000000000001", "run_\n"] {
        let refused = relay.client.try_attach(&world.person(), bad, SNAPSHOT).await.err().unwrap();
        assert_eq!(reason(&refused), Some(Reason::InvalidField), "{bad:?}");
    }
    let lease = world.claim().await;
    let others = Cursor::start(lease.thread, RunId::from_uuid(Uuid::now_v7())).to_string();
    for bad in ["", "x", others.as_str()] {
        let refused = relay.client.try_attach(&world.person(), &run.to_string(), cursor(bad)).await.err().unwrap();
        assert_eq!(reason(&refused), Some(Reason::InvalidCursor), "{bad:?}");
    }
    let refused = relay.client.try_attach(&Principal::Lease(lease), &run.to_string(), SNAPSHOT).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::PermissionDenied));
}

#[tokio::test]
async fn a_run_that_waits_says_so_at_once() {
    let world = World::new().await;
    let relay = world.relay().await;
    let (ready, queued) = (world.send().await, world.send().await);
    let mut viewer = relay.client.attach(&world.person(), ready, START).await;
    let Some(Frame::Status(status)) = viewer.frame().await else { panic!("no status first") };
    assert_eq!((status.state(), status.queue_position), (State::Ready, 0));
    let mut viewer = relay.client.attach(&world.person(), queued, SNAPSHOT).await;
    let Some(Frame::Snapshot(part)) = viewer.frame().await else { panic!("no snapshot first") };
    assert!(part.complete && part.seq == 0);
    let seen = viewer.until(|seen| !seen.statuses.is_empty()).await;
    assert_eq!((seen.statuses[0].state(), seen.statuses[0].queue_position), (State::Queued, 1));
}

#[tokio::test]
async fn a_cursor_that_the_log_does_not_know_is_reset() {
    let world = World::new().await;
    let (relay, run) = (world.relay().await, world.send().await);
    let lease = world.claim().await;
    let (mut appender, _) = relay.client.append(lease).await;
    appender.send(vec![crate::client::step_started(1), crate::client::text(1, "hello")]).await;
    appender.settled().await;
    let start = Cursor::start(lease.thread, run);
    for (seq, chain) in [(99, Chain(7)), (3, Chain(7)), (1, Chain(7))] {
        let mut viewer = relay.client.attach(&world.person(), run, cursor(&start.at(seq, chain).to_string())).await;
        let seen = viewer.until(|seen| seen.view.text() == "hello").await;
        assert_eq!(seen.resets, [pb::reset::Reason::LogForked], "{seq}");
        assert_eq!((seen.view.seq, seen.from_database), (3, false));
    }
}

#[tokio::test]
async fn a_person_has_so_many_streams_and_no_more() {
    let world = World::new().await;
    let mut config = world.config().await;
    config.viewers_per_user_max = 2;
    let (relay, run) = (serve(config).await, world.send().await);
    let first = relay.client.attach(&world.person(), run, SNAPSHOT).await;
    let _second = relay.client.attach(&world.person(), run, SNAPSHOT).await;
    let refused = relay.client.try_attach(&world.person(), &run.to_string(), SNAPSHOT).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::ViewerLimit));
    drop(first);
    crate::world::eventually("a seat comes back", || async {
        relay.client.try_attach(&world.person(), &run.to_string(), SNAPSHOT).await.ok()
    })
    .await;
}
