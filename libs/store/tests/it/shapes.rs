//! The shapes that interrupting, steering and jobs build on: places, ranks, kinds, actors and usage.

use crate::fixture::{QUEUES, World, claim_for, dispatched, id, last, lease, model_step};
use crate::server;
use futures::FutureExt as _;
use runmesh_domain::actor::Actor;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::message::Part;
use runmesh_domain::run::{Command, Outcome, StateName};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::transition::{Cause, Record};
use runmesh_domain::{Refusal, limits::Queues};
use runmesh_store::runs::{self, At, Committed, NewTurn, TransitionExtra};
use runmesh_store::{PageRequest, steps};

/// Ends the holder of a thread and accepts a turn in its place, in one transaction: what an interrupting message will do.
async fn take_over(world: &World, holder: RunId, thread: ThreadId, text: &str) -> (RunId, Vec<Committed>) {
    let (org, user, run) = (world.org, world.user, RunId::from_uuid(id()));
    let text = text.to_owned();
    let committed = world.org_tx(move |tx| {
        let parts = vec![Part::text(text.clone())];
        async move {
            let locked = runs::lock(tx, holder).await?;
            let changes = locked.row.run.decide(&Command::Supersede { by: Actor::User(user) })?;
            let extra = TransitionExtra::followed_by(run);
            let (_, mut committed) = runs::transition(tx, locked, &changes, extra).await?;
            let (thread, _) = runs::lock_thread(tx, org, thread, user).await?;
            let new = NewTurn {
                run,
                message: MessageId::from_uuid(id()),
                user,
                actor: Actor::User(user),
                parts,
                internal: false,
                at: At::Front,
                only_when_free: false,
                spec: RunSpec {
                    agent_id: thread.agent,
                    agent_version: thread.agent_version,
                    agent: thread.agent_spec.clone(),
                    accepted_at: thread.now,
                    traceparent: String::new(),
                },
                queues: QUEUES,
                claim_follows: false,
            };
            committed.extend(runs::accept(tx, thread, new).await?.committed);
            Ok(committed)
        }
        .boxed()
    });
    (run, committed.await.unwrap())
}

#[tokio::test]
async fn a_turn_takes_the_place_of_the_holder_and_those_that_wait_keep_their_order() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let holder = world.running_on(session, thread).await;
    let (second, third) = (world.send(thread, "second").await, world.send(thread, "third").await);
    let (urgent, committed) = take_over(&world, holder.run, thread, "urgent").await;
    let causes: Vec<_> = committed.iter().map(|row| (row.ids.id, row.transition.cause, row.transition.to)).collect();
    let expected = [(holder.run, Cause::Superseded, StateName::Superseded), (urgent, Cause::Accepted, StateName::Ready)];
    assert_eq!(causes, expected);
    let Record::Finished(finished) = &committed[0].transition.record else { panic!("{committed:?}") };
    assert_eq!(finished.promoted, Some(urgent), "the end names the run that follows");
    assert_eq!(world.finish(holder, Outcome::Completed, Some(last(1, "x"))).await, Err(Refusal::Fenced.into()), "R1");
    // It was accepted last and starts first; its end promotes a turn that was accepted before it.
    for (run, next) in [(urgent, Some(second.run)), (second.run, Some(third.run)), (third.run, None)] {
        let claimed = world.claim(session, 10).await;
        assert_eq!(claimed.iter().map(|claimed| claimed.row.run.id).collect::<Vec<_>>(), [run]);
        let (_, committed) = world.complete(lease(&claimed[0].row), "answer").await;
        let promoted = committed.get(1).map(|row| (row.ids.id, row.transition.cause));
        assert_eq!(promoted, next.map(|next| (next, Cause::Promoted)));
    }
    let messages = world.messages(thread).await;
    let order: Vec<_> = messages.iter().map(|message| message.run).collect();
    let runs = [holder.run, urgent, urgent, second.run, second.run, third.run, third.run];
    assert_eq!(order, runs, "the conversation is in the order in which the turns started");
}

#[tokio::test]
async fn a_turn_at_the_front_starts_before_those_that_wait() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let holder = world.running_on(session, thread).await;
    let waiting = world.send(thread, "waits").await;
    let (org, user, front) = (world.org, world.user, RunId::from_uuid(id()));
    let accepted = world.org_tx(move |tx| {
        async move {
            let (locked, _) = runs::lock_thread(tx, org, thread, user).await?;
            let spec = RunSpec {
                agent_id: locked.agent,
                agent_version: 1,
                agent: locked.agent_spec.clone(),
                accepted_at: locked.now,
                traceparent: String::new(),
            };
            let new = NewTurn {
                run: front,
                message: MessageId::from_uuid(id()),
                user,
                actor: Actor::System,
                parts: vec![Part::text("for the model")],
                internal: true,
                at: At::Front,
                only_when_free: false,
                spec,
                queues: QUEUES,
                claim_follows: false,
            };
            runs::accept(tx, locked, new).await
        }
        .boxed()
    });
    let accepted = accepted.await.unwrap();
    assert_eq!((accepted.ready, accepted.queue_position, accepted.turn_number), (false, 1, 3));
    let queue = world.org_tx(move |tx| runs::queue(tx, org, thread).boxed()).await.unwrap();
    assert_eq!(queue.iter().map(|row| row.run.id).collect::<Vec<_>>(), [holder.run, front, waiting.run]);
    world.complete(holder, "done").await;
    let claimed = world.claim(session, 10).await;
    assert_eq!(claimed[0].row.run.id, front);
    let seen = &claimed[0].context.as_ref().unwrap().messages;
    assert!(seen.iter().any(|message| message.internal), "the model sees an internal message: {seen:?}");
    assert!(world.messages(thread).await.iter().all(|message| !message.internal), "people do not");
}

#[tokio::test]
async fn a_turn_that_never_started_is_for_people_only() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let holder = world.running_on(session, thread).await;
    let (dropped, kept) = (world.send(thread, "dropped").await, world.send(thread, "kept").await);
    world.cancel(dropped.run).await.unwrap();
    world.complete(holder, "answer").await;
    let claimed = world.claim(session, 10).await;
    let seen: Vec<_> = claimed[0].context.as_ref().unwrap().messages.iter().map(|message| message.run).collect();
    assert_eq!(seen, [holder.run, holder.run, kept.run]);
    let shown: Vec<_> = world.messages(thread).await.iter().map(|message| message.run).collect();
    assert_eq!(shown, [holder.run, dropped.run, holder.run, kept.run], "it has the place of the moment of its end");
}

/// Makes a run one of the other kind, as a job will be: with no number and no place.
async fn make_background(world: &World, run: RunId) {
    let text = format!("UPDATE runs SET kind = 'background', turn_number = 0, place = NULL WHERE id = '{}'", run.uuid());
    server::execute(&world.url, &text).await;
}

#[tokio::test]
async fn a_background_run_holds_nothing_and_fills_no_limit_of_turns() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let job = world.running_on(session, thread).await;
    make_background(&world, job.run).await;
    let sent = world.send(thread, "a turn").await;
    assert!(sent.ready, "a job does not hold the thread");
    let tight = Queues { running_per_user_max: 1, running_per_org_max: 1, ..QUEUES };
    let claimed = world.try_claim(claim_for(session, 10, tight)).await.unwrap();
    assert_eq!(claimed.len(), 1, "a job does not count against the limits of turns");
    let org = world.org;
    let turns = world.org_tx(move |tx| runs::current_turn(tx, org, thread).boxed()).await.unwrap();
    assert_eq!(turns.map(|turn| turn.run.id), Some(sent.run));
    let (_, committed) = world.finish(job, Outcome::Completed, Some(last(1, "result"))).await.unwrap();
    assert_eq!(committed.len(), 1, "the end of a job promotes no turn");
    assert_eq!(world.messages(thread).await.len(), 2, "and says nothing in the conversation");
}

#[tokio::test]
async fn a_ready_background_run_is_for_no_claim_of_turns() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let job = world.send(thread, "job").await;
    make_background(&world, job.run).await;
    assert_eq!(world.claim(session, 10).await, vec![]);
    assert_eq!(world.state(job.run).await, StateName::Ready);
}

#[tokio::test]
async fn a_run_is_claimed_no_earlier_than_it_may_and_by_its_priority() {
    let world = World::new().await;
    let session = world.session().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let thread = world.thread().await;
        runs.push(world.send(thread, "x").await.run);
    }
    let set = async |run: RunId, what: &str| {
        server::execute(&world.url, &format!("UPDATE runs SET {what} WHERE id = '{}'", run.uuid())).await;
    };
    set(runs[0], "not_before = clock_timestamp() + interval '1 hour'").await;
    set(runs[2], "priority = 5").await;
    let first = world.claim(session, 1).await;
    let second = world.claim(session, 10).await;
    let claimed: Vec<_> = first.iter().chain(&second).map(|claimed| claimed.row.run.id).collect();
    assert_eq!(claimed, [runs[2], runs[1]]);
    set(runs[0], "not_before = clock_timestamp() - interval '1 second'").await;
    let claimed = world.claim(session, 10).await;
    assert_eq!((claimed[0].row.run.id, claimed[0].row.not_before), (runs[0], None), "an attempt uses the time up");
}

#[tokio::test]
async fn paused_turns_leave_their_senders_room() {
    let world = World::new().await;
    let session = world.session().await;
    let paused = world.running(session).await;
    world.record(paused, vec![model_step(1, "x", &["write"]), dispatched(1, 0)]).await.unwrap();
    world.release(paused).await.unwrap();
    assert_eq!(world.state(paused.run).await, StateName::Waiting);
    let thread = world.thread().await;
    let one = Queues { open_per_user_max: 1, open_per_org_max: 1, ..QUEUES };
    let new = runs::NewMessage { queues: one, ..world.message(thread, "hi") };
    assert!(world.try_send(new).await.unwrap().ready);
    let refused = world.try_send(runs::NewMessage { queues: one, ..world.message(thread, "hi") }).await;
    assert!(matches!(refused, Err(runmesh_domain::Error::Refused(Refusal::QueueLimit { .. }))), "{refused:?}");
}

#[tokio::test]
async fn every_transition_says_who_made_it() {
    let world = World::new().await;
    let session = world.session().await;
    let canceled = world.running(session).await;
    world.cancel(canceled.run).await.unwrap();
    let row = world.get(canceled.run).await;
    assert_eq!(row.run.cancel.map(|cancel| cancel.by), Some(Actor::User(world.user)));
    assert!(row.cancel_at.is_some());
    world.finish(canceled, Outcome::Canceled, None).await.unwrap();
    let (org, run) = (world.org, canceled.run);
    let history = world.org_tx(move |tx| runs::history(tx, org, run).boxed()).await.unwrap();
    let actors: Vec<_> = history.iter().map(|transition| transition.actor).collect();
    assert_eq!(actors, [Actor::User(world.user), Actor::Worker(session), Actor::User(world.user)]);
    let reaped = world.running(session).await;
    world.expire(session).await;
    let reaps = world.reap().await;
    assert_eq!((reaps[0].0, reaps[0].1[0].transition.actor), (reaped.run, Actor::System));
}

#[tokio::test]
async fn usage_has_a_row_for_every_model_call() {
    let world = World::new().await;
    let session = world.session().await;
    let run = world.running(session).await;
    world.record(run, vec![model_step(1, "a", &[]), model_step(2, "b", &[])]).await.unwrap();
    world.record(run, vec![model_step(2, "b", &[])]).await.unwrap();
    world.finish(run, Outcome::Completed, Some(last(3, "c"))).await.unwrap();
    let rows = "SELECT count(*) * 100 + sum(input_tokens) FROM usage WHERE model = 'm'";
    let rows = server::value::<i64>(&world.url, &format!("SELECT ({rows})::int8")).await;
    assert_eq!(rows, 309, "three rows, of three tokens each; a repeat is no call");
    assert_eq!(world.get(run.run).await.usage.input_tokens, 9);
}

/// The order of locks is thread, run, action. RecordStep locks the run only, so it must never change the run's state: a
/// transition locks the thread first, and the two would wait for each other.
#[tokio::test]
async fn journaling_waits_for_no_thread_and_makes_no_transition() {
    let world = World::new().await;
    let (session, thread) = (world.session().await, world.thread().await);
    let run = world.running_on(session, thread).await;
    let (org, user) = (world.org, world.user);
    let before = world.get(run.run).await.run.version;
    let inner = world.clone();
    let journaled = world.org_tx(move |tx| {
        let world = inner.clone();
        async move {
            runs::lock_thread(tx, org, thread, user).await?;
            world.record(run, vec![model_step(1, "x", &["write"]), dispatched(1, 0)]).await
        }
        .boxed()
    });
    assert_eq!(journaled.await.unwrap().verdicts.len(), 1, "the thread is locked, and journaling goes on");
    let row = world.get(run.run).await;
    assert_eq!((row.run.version, row.run.state.name()), (before, StateName::Running));
    let run = run.run;
    let history = world
        .org_tx(move |tx| async move { steps::history(tx, org, run, &PageRequest::first(), false).await }.boxed())
        .await
        .unwrap();
    assert_eq!(history.transitions.len(), 2);
}
