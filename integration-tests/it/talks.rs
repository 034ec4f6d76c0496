//! One message in, a streamed and journaled answer out.

use crate::harness::{mesh, small};
use runmesh_client::{Paging, Start};
use runmesh_domain::event::Event;
use runmesh_domain::run::StateName;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_before_during_and_after_see_the_same_on_any_replica() {
    let mesh = mesh().start().await;
    let run = mesh.send("slow:30x20").await;

    let (before, during) = tokio::join!(mesh.attach(1, &run), async {
        // Through another gateway, once the run is under way.
        mesh.owner_of(&run).await;
        mesh.attach_from(0, &run, Start::Beginning).await
    });
    let after = mesh.attach(1, &run).await;

    for seen in [&before, &during, &after] {
        seen.assert_exact().assert_state(StateName::Completed);
        assert_eq!(seen.events(), before.events(), "all see the same events");
        assert_eq!(seen.view(), before.view(), "and fold them to the same");
    }
    assert_eq!(before.count(|event| matches!(event, Event::TextDelta { .. })), 30, "every chunk of the model is an event");
    assert_eq!(before.attempts(), [1]);
    assert!(before.view().text().contains("chunk-29"), "{}", before.view().text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_the_events_after_it_fold_to_the_same_as_all_events() {
    let mesh = mesh().start().await;
    let run = mesh.send("slow:20x30").await;
    mesh.owner_of(&run).await;
    let (from_snapshot, from_start) =
        tokio::join!(mesh.attach_from(1, &run, Start::Snapshot), mesh.attach_from(0, &run, Start::Beginning));
    from_snapshot.assert_exact().assert_state(StateName::Completed);
    assert_eq!(from_snapshot.view(), from_start.view());
    let after = mesh.attach_from(1, &run, Start::Snapshot).await;
    after.assert_exact();
    assert_eq!(after.view().text(), from_start.view().text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conversation_is_stored_and_the_model_sees_it() {
    let mesh = small().start().await;
    let first = mesh.send("many:3").await;
    mesh.attach(0, &first).await.assert_exact();
    let second = mesh.send_on(first.thread, "and now?").await;
    let seen = mesh.attach(0, &second).await;
    seen.assert_exact().assert_state(StateName::Completed);

    let messages = mesh.client(0).list_messages(first.thread, Paging::default()).await.expect("messages").items;
    let texts: Vec<_> = messages.iter().map(|message| runmesh_domain::message::plain_text(&message.parts)).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!((texts[0].as_str(), texts[2].as_str()), ("many:3", "and now?"));
    assert_eq!(texts[3], seen.view().text(), "what was streamed is what is stored");

    let request = mesh.model().received().pop().expect("the model was called").body().clone();
    let roles: Vec<_> = request["messages"].as_array().expect("messages").iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "user"], "the model sees the whole conversation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_refuses_for_a_moment_is_tried_again_and_seen_to_be() {
    let mesh = small().start().await;
    let run = mesh.send("fail:503 many:5").await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.count(|event| matches!(event, Event::ModelRetrying { .. })), 1);
    assert_eq!(mesh.model().calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_is_retracted_and_leaves_nothing() {
    let mesh = small().start().await;
    let run = mesh.send("cut:3 many:6").await;
    let seen = mesh.attach(0, &run).await;
    seen.assert_exact().assert_state(StateName::Completed);
    assert_eq!(seen.count(|event| matches!(event, Event::StepRetracted { .. })), 1);
    assert_eq!(seen.view().text().matches("chunk-").count(), 6, "{}", seen.view().text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_down_or_refuses_ends_the_run_with_its_words() {
    let mesh = small().start().await;
    for (message, reason) in [("fail:503*", "MODEL_UNAVAILABLE"), ("fail:401*", "MODEL_REJECTED"), ("len many:3", "LENGTH")] {
        let run = mesh.send(message).await;
        let seen = mesh.attach(0, &run).await;
        seen.assert_exact().assert_state(StateName::Failed);
        let finished = seen.view().finished.clone().expect("an end");
        assert_eq!(finished.reason, reason, "{message}: {}", finished.detail);
        assert_eq!(mesh.run(&run).await.reason, reason);
    }
}
