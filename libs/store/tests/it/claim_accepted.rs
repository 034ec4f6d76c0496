//! A run that is claimed in the transaction that accepts it.

use crate::fixture::{LEASES, QUEUES, World, claim_for, id, lease};
use futures::FutureExt as _;
use runmesh_domain::id::{OrgId, SessionId, ThreadId};
use runmesh_domain::limits::Queues;
use runmesh_domain::run::StateName;
use runmesh_domain::transition::Cause;
use runmesh_store::runs::{self, Accepted, Claimed, NewMessage};
use runmesh_store::sessions;

impl World {
    async fn accept_and_claim(&self, thread: ThreadId, session: SessionId, queues: Queues) -> (Accepted, Option<Claimed>) {
        let new = NewMessage { claim_follows: true, ..self.message(thread, "hi") };
        self.org_tx(move |tx| {
            let new = new.clone();
            async move {
                let accepted = runs::send(tx, new).await?;
                let claimed = runs::claim_accepted(tx, &accepted, session, queues).await?;
                Ok((accepted, claimed))
            }
            .boxed()
        })
        .await
        .unwrap()
    }

    async fn stays_ready(&self, session: SessionId, queues: Queues, why: &str) {
        let (accepted, claimed) = self.accept_and_claim(self.thread().await, session, queues).await;
        assert_eq!(claimed, None, "{why}");
        assert_eq!(self.state(accepted.run).await, StateName::Ready, "{why}");
    }
}

#[tokio::test]
async fn it_runs_from_the_first_commit_and_brings_both_transitions() {
    let world = World::new().await;
    let session = world.session().await;
    let (accepted, claimed) = world.accept_and_claim(world.thread().await, session, QUEUES).await;
    let claimed = claimed.unwrap();
    assert_eq!(world.state(accepted.run).await, StateName::Running);
    let causes: Vec<Cause> = claimed.committed.iter().map(|row| row.transition.cause).collect();
    assert_eq!(causes, [Cause::Accepted, Cause::Claimed]);
    assert_eq!((claimed.row.run.fence, claimed.context.map(|context| context.messages.len())), (1, Some(1)));
    world.complete(lease(&claimed.row), "done").await;
    assert_eq!(world.state(accepted.run).await, StateName::Completed);
}

#[tokio::test]
async fn a_turn_behind_another_is_only_queued() {
    let world = World::new().await;
    let (thread, session) = (world.thread().await, world.session().await);
    assert!(world.accept_and_claim(thread, session, QUEUES).await.1.is_some());
    let (second, claimed) = world.accept_and_claim(thread, session, QUEUES).await;
    assert_eq!((world.state(second.run).await, claimed), (StateName::Queued, None));
}

#[tokio::test]
async fn nothing_is_taken_before_what_waits_already() {
    let world = World::new().await;
    let session = world.session().await;
    world.send(world.thread().await, "older").await;
    world.stays_ready(session, QUEUES, "another run of the org is READY").await;
    assert_eq!(world.claim(session, 10).await.len(), 2);
    assert!(world.accept_and_claim(world.thread().await, session, QUEUES).await.1.is_some());
}

#[tokio::test]
async fn limits_hold() {
    let world = World::new().await;
    let session = world.session().await;
    let user = Queues { running_per_user_max: 1, ..QUEUES };
    assert!(world.accept_and_claim(world.thread().await, session, user).await.1.is_some());
    world.stays_ready(session, user, "the user's limit").await;

    let world = World::new().await;
    let session = world.session().await;
    let org = Queues { running_per_org_max: 1, ..QUEUES };
    assert!(world.accept_and_claim(world.thread().await, session, org).await.1.is_some());
    world.stays_ready(session, org, "the org's limit").await;
}

#[tokio::test]
async fn an_org_in_the_hands_of_another_claim_is_left_to_it() {
    let world = World::new().await;
    let session = world.session().await;
    let first = world.send(world.thread().await, "for the other claim").await;
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let (go, may_go) = tokio::sync::oneshot::channel::<()>();
    let hands = std::sync::Mutex::new(Some((locked, may_go)));
    let wish = claim_for(session, 1, QUEUES);
    let other = world.clone();
    let claim = tokio::spawn(async move {
        let hands = std::sync::Arc::new(hands);
        let claimed = other.system(move |tx| {
            let (hands, wish) = (std::sync::Arc::clone(&hands), wish.clone());
            async move {
                let claims = runs::claim(tx, &wish).await?;
                let hands = hands.lock().unwrap().take();
                if let Some((locked, may_go)) = hands {
                    locked.send(()).unwrap();
                    may_go.await.unwrap();
                }
                Ok(claims.claimed)
            }
            .boxed()
        });
        claimed.await.unwrap()
    });
    is_locked.await.unwrap();
    let (second, claimed) = world.accept_and_claim(world.thread().await, session, QUEUES).await;
    assert_eq!(claimed, None);
    go.send(()).unwrap();
    assert_eq!(claim.await.unwrap()[0].row.run.id, first.run);
    assert_eq!(world.state(second.run).await, StateName::Ready);
}

#[tokio::test]
async fn only_for_a_live_session_that_may_serve_it() {
    let world = World::new().await;
    let elsewhere = world.session_with(&LEASES, |new| new.credential.orgs = Some(vec![OrgId::of_name("x")])).await;
    let dead = world.session().await;
    world.system(move |tx| sessions::close(tx, dead, 1).boxed()).await.unwrap();
    let unknown = SessionId::from_uuid(id());
    for (session, why) in [(elsewhere, "another org's"), (dead, "closed"), (unknown, "unknown")] {
        let (accepted, claimed) = world.accept_and_claim(world.thread().await, session, QUEUES).await;
        assert_eq!(claimed, None, "{why}");
        let session = world.session().await;
        let taken = world.claim(session, 10).await;
        assert_eq!(taken.iter().map(|claimed| claimed.row.run.id).collect::<Vec<_>>(), [accepted.run], "{why}");
    }
}
