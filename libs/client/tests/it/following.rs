//! Following over broken streams: every event exactly once, or an error.

use crate::frames::{chain, cursor, end, events, frame, last, log, reset, run, snapshot, whole_text};
use crate::script::{Scene, Server, Then};
use runmesh_client::history::History;
use runmesh_client::pb::stream::attach_run_request::From;
use runmesh_client::pb::stream::attach_run_response::Frame;
use runmesh_client::pb::stream::end::Reason as End;
use runmesh_client::{ClientError, EndReason, Follow, Start, Update};
use runmesh_domain::{Reason, Refusal};
use runmesh_wire::status;

/// Follows to the end or the error, and writes down what was told.
async fn told(follow: &mut Follow) -> (History, Result<(), ClientError>) {
    let mut history = History::default();
    while let Some(update) = follow.next().await {
        match update {
            Ok(update) => history.take(&update),
            Err(error) => return (history, Err(error)),
        }
    }
    (history, Ok(()))
}

fn play(frames: Vec<runmesh_client::pb::stream::AttachRunResponse>, then: Then) -> Scene {
    Scene::Play(frames, then)
}

#[tokio::test]
async fn breaks_cost_nothing() {
    let server = Server::playing([
        play(vec![events(1, 3)], Then::Break),
        Scene::Refuse(status::plain(Reason::Unavailable, "away")),
        play(vec![events(4, 4), events(5, 9)], Then::Leave),
        play(vec![end(End::Draining)], Then::Hang),
        play(vec![events(10, last()), end(End::Finished)], Then::Hang),
    ])
    .await;
    let mut follow = server.client().follow(run(), Start::Beginning);
    let (history, result) = told(&mut follow).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(history.check(Some(1)), Ok(()));
    assert_eq!(history.events().into_iter().map(|(_, event)| event).collect::<Vec<_>>(), log());
    assert_eq!(follow.view().text(), whole_text());
    assert_eq!(follow.view().chain, chain(last()));
    assert_eq!(follow.cursor(), Some(cursor(last()).as_str()));
    assert_eq!(follow.reconnects(), 4, "each break was told");
    let at = |seq| Some(From::Cursor(cursor(seq)));
    assert_eq!(server.attaches()[1..], [at(3), at(3), at(9), at(9)]);
}

#[tokio::test]
async fn a_snapshot_that_breaks_is_asked_for_again() {
    let half = snapshot(8).into_iter().take(1).collect();
    let whole = snapshot(8).into_iter().chain([events(9, last()), end(End::Finished)]).collect();
    let server = Server::playing([play(half, Then::Break), play(whole, Then::Hang)]).await;
    let mut follow = server.client().follow(run(), Start::Snapshot);
    let view = follow.to_end().await.unwrap();
    assert_eq!(view.text(), whole_text());
    assert!(server.attaches().iter().all(|from| matches!(from, Some(From::Snapshot(_)))));
}

#[tokio::test]
async fn a_repeat_is_an_error() {
    let server = Server::playing([play(vec![events(1, 3)], Then::Break), play(vec![events(3, 5)], Then::Hang)]).await;
    let (history, result) = told(&mut server.client().follow(run(), Start::Beginning)).await;
    assert!(matches!(result, Err(ClientError::Protocol { .. })), "{result:?}");
    assert_eq!(history.events().len(), 3, "what came before it was told once");
}

#[tokio::test]
async fn a_gap_is_an_error() {
    let server = Server::playing([play(vec![events(1, 3), events(5, 6)], Then::Hang)]).await;
    let (_, result) = told(&mut server.client().follow(run(), Start::Beginning)).await;
    let problem = result.unwrap_err().to_string();
    assert!(problem.contains("missing events: 5 came after 3"), "{problem}");
}

#[tokio::test]
async fn an_end_before_the_end_of_the_run_is_an_error() {
    let server = Server::playing([play(vec![events(1, 3), end(End::Finished)], Then::Hang)]).await;
    let (_, result) = told(&mut server.client().follow(run(), Start::Beginning)).await;
    assert!(matches!(result, Err(ClientError::Protocol { .. })), "{result:?}");
}

#[tokio::test]
async fn another_history_is_attached_to_again() {
    let mut forked = events(4, 5);
    if let Some(Frame::Events(events)) = &mut forked.frame {
        events.chain_before ^= 1;
    }
    let rest = vec![reset()].into_iter().chain(snapshot(8)).chain([events(9, last()), end(End::Finished)]).collect();
    let server = Server::playing([play(vec![events(1, 3), forked], Then::Hang), play(rest, Then::Hang)]).await;
    let mut follow = server.client().follow(run(), Start::Beginning);
    let (history, result) = told(&mut follow).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((follow.chain_mismatches(), history.resets()), (1, 1));
    assert_eq!(history.check(Some(1)), Ok(()));
    assert_eq!(history.fold().text(), follow.view().text());
    assert_eq!(server.attaches()[1], Some(From::Cursor(cursor(3))));
}

#[tokio::test]
async fn a_refusal_ends_it() {
    let server = Server::playing([Scene::Refuse(status::of_refusal(&Refusal::NotFound { what: "run" }))]).await;
    let mut follow = server.client().follow(run(), Start::Snapshot);
    let (_, result) = told(&mut follow).await;
    assert_eq!(result.unwrap_err().reason(), Some(Reason::NotFound));
    assert!(follow.next().await.is_none(), "nothing after the end");
}

#[tokio::test]
async fn patience_is_bounded() {
    let server = Server::playing([play(vec![events(1, 3)], Then::Break)]).await;
    let (history, result) = told(&mut server.client().follow(run(), Start::Beginning)).await;
    assert!(matches!(result, Err(ClientError::GaveUp { .. })), "{result:?}");
    assert_eq!(history.events().len(), 3);
    assert!(server.attaches().len() > 2, "it did try");
}

#[tokio::test]
async fn statuses_and_signs_of_life_are_told() {
    let progress = frame(Frame::Progress(runmesh_client::pb::stream::Progress::default()));
    let waiting = frame(Frame::Status(runmesh_client::pb::stream::Status { queue_position: 2, ..Default::default() }));
    let frames = vec![waiting, progress, events(1, last()), end(End::Finished)];
    let server = Server::playing([play(frames, Then::Hang)]).await;
    let mut follow = server.client().follow(run(), Start::Cursor(cursor(0)));
    assert!(follow.is_whole(), "this cursor lies before the first event");
    assert!(matches!(follow.next().await.unwrap().unwrap(), Update::Status(status) if status.queue_position == 2));
    assert!(matches!(follow.next().await.unwrap().unwrap(), Update::Progress));
    assert!(matches!(follow.next().await.unwrap().unwrap(), Update::Events { .. }));
    let end = follow.next().await.unwrap().unwrap();
    assert!(matches!(end, Update::End { reason: EndReason::Finished, state: Some(state) } if state.is_terminal()));
}

#[tokio::test]
async fn an_expired_token_ends_it_with_a_place_to_come_back_to() {
    let server = Server::playing([play(vec![events(1, 3), end(End::TokenExpired)], Then::Hang)]).await;
    let mut follow = server.client().follow(run(), Start::Beginning);
    assert!(follow.to_end().await.is_err());
    assert_eq!(follow.cursor(), Some(cursor(3).as_str()));
}
