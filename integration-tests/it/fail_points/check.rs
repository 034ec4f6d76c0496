//! The invariants, checked on what is left after every death.

use super::world::{Sent, World};
use crate::sql;
use runmesh_bus::{Bus, BusConfig};
use runmesh_client::{Paging, pb};
use runmesh_domain::actor::Actor;
use runmesh_domain::fold::RunView;
use runmesh_domain::id::RunId;
use runmesh_domain::invariants;
use runmesh_domain::journal::call_key;
use runmesh_domain::message::{Role, plain_text};
use runmesh_domain::path::StepKey;
use runmesh_domain::transition::{Cause, Record, Transition};
use runmesh_testkit::until;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::run::Step;
use runmesh_wire::pb::run::step::CallState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
/// What the table of transitions says, one text a transition.
const TRANSITIONS: &str = "SELECT run_id || ' ' || version || ' ' || to_state FROM run_transitions ORDER BY run_id, version";
/// Transitions that nobody knows to be published.
const UNMARKED: &str = "SELECT count(*) FROM run_transitions WHERE NOT logged OR NOT fed";

impl World {
    /// R1 to R4 and S1 to S3 of runs that are over, and what each was expected to come to.
    pub async fn check(&self, made: &[Sent]) {
        for sent in made {
            self.check_run(sent).await;
        }
    }

    async fn check_run(&self, Sent { run, expect }: &Sent) {
        let history = self.mesh.history(run).await;
        let transitions: Vec<_> = history.transitions.iter().map(|one| transition(run.id, one)).collect();
        invariants::check_transitions(&transitions).unwrap_or_else(|broken| panic!("{}: {broken}", run.id));
        let last = transitions.last().expect("a transition");
        assert_eq!(last.to, expect.state, "{}: R2", run.id);

        let seen = self.mesh.attach(0, run).await;
        seen.assert_exact().assert_state(expect.state);
        check_fold(seen.view(), &history, expect.asks);
        self.check_message(run.id, run.thread, seen.view()).await;
        let queue = self.mesh.client(0).list_queue(run.thread).await.expect("the queue");
        assert!(queue.is_empty(), "{}: the thread's next turn was promoted and ended: {queue:?}", run.id);
        if let Some((least, most)) = expect.effects {
            let effects = self.mesh.model().effects(&call_key(run.id, &1.into(), 0));
            assert!((least..=most).contains(&effects), "R4: {}: the call reached its tool {effects} times", run.id);
        }
    }

    /// S3 for the stored message: it is what the log's end shows.
    async fn check_message(&self, run: RunId, thread: runmesh_domain::id::ThreadId, view: &RunView) {
        let messages = self.mesh.client(0).list_messages(thread, Paging::default()).await.expect("messages").items;
        let written: Vec<_> = messages.iter().filter(|message| message.run == run && message.role == Role::Assistant).collect();
        assert!(written.len() <= 1, "{run}: one answer: {written:?}");
        let stored = written.first().map(|message| plain_text(&message.parts)).unwrap_or_default();
        assert_eq!(view.text(), stored, "{run}: the log's end shows the stored message");
    }

    /// R5, and that the log and the feed have every transition there is, and none that there is not.
    pub async fn check_whole(&self) {
        until("every transition is marked as logged and fed", DEADLINE, || async {
            (sql::query(&self.mesh, UNMARKED).await == ["0"]).then_some(())
        })
        .await;
        let stored: Vec<String> = sql::query(&self.mesh, TRANSITIONS).await;
        let runs: BTreeSet<String> = stored.iter().filter_map(|row| row.split(' ').next().map(str::to_owned)).collect();
        let known: BTreeSet<String> = self.sent.iter().map(|sent| sent.run.id.uuid().to_string()).collect();
        assert_eq!(runs, known, "R5: every message is one run, and there is no other run");
        assert_eq!(self.feed(stored.len()).await, stored, "the feed has what was committed, and nothing else");
    }

    /// What the feed has, each transition once, read until it has `wanted` different ones and then to its end.
    async fn feed(&self, wanted: usize) -> Vec<String> {
        let bus = Bus::connect(BusConfig::new(self.mesh.engines().nats_url(), "test")).await.expect("a bus");
        let mut feed = bus.feed().consume("test-reader").await.expect("a consumer");
        let mut seen: BTreeMap<(String, u64), String> = BTreeMap::new();
        let mut next = async || tokio::time::timeout(Duration::from_secs(2), feed.next()).await;
        while let Ok(fed) = next().await {
            let fed = fed.expect("a readable event");
            let (run, version) = (fed.event.run.uuid().to_string(), fed.event.version);
            let text = format!("{run} {version} {}", fed.event.to.name());
            fed.ack().await.expect("an acknowledgement");
            let last = seen.range(..=(run.clone(), version)).next_back().filter(|((other, _), _)| *other == run);
            assert!(last.map_or(version == 1, |((_, last), _)| version <= last + 1), "{text} comes before what it follows");
            seen.insert((run, version), text);
        }
        assert!(seen.len() >= wanted, "the feed holds {} of {wanted} transitions", seen.len());
        seen.into_values().collect()
    }
}

/// S3 at the end: the fold of the log is the journal. The step that the end of the run brought is in its message instead. A run
/// that asked had no attempt after the one that died, so nothing has published the step that was journaled last.
fn check_fold(view: &RunView, history: &pb::run::GetRunHistoryResponse, asked: bool) {
    let folded = view.steps.iter().filter(|(_, step)| step.finished);
    let folded: Vec<_> = folded.map(|(key, step)| (key.clone(), step.text.clone())).collect();
    let (before, last) = history.steps.split_at(folded.len().min(history.steps.len()));
    let journaled: Vec<_> = before.iter().map(|step| (key(step), step.text.clone())).collect();
    assert_eq!(folded, journaled, "S3: the steps");
    assert!(last.len() <= 1, "S3: the log lacks steps: {last:?}");
    let is_shown = |step: &Step| view.text().ends_with(&step.text) && step.calls.is_empty();
    assert!(asked || last.iter().all(is_shown), "S3: the last step: {last:?}");
    for step in before {
        let seen = &view.steps[&key(step)].calls;
        assert_eq!(seen.len(), step.calls.len(), "S3: the calls");
        for call in &step.calls {
            let seen = &seen[&index(call.call_index)];
            let outcome = match call.state() {
                CallState::Done => Some((call.content.clone(), false)),
                CallState::Failed => Some((call.content.clone(), true)),
                _ => None,
            };
            assert_eq!((&seen.name, &seen.outcome), (&call.name, &outcome), "S3: the call");
        }
    }
}

/// The step's key: these runs have no steps below calls.
fn key(step: &Step) -> StepKey {
    assert_eq!(step.path, "", "a step of the run itself");
    index(step.step_index).into()
}

fn index(wire: i32) -> u32 {
    u32::try_from(wire).expect("an index")
}

fn transition(run: RunId, wire: &pb::run::Transition) -> Transition {
    let state = |state: pb::run::run::State| state.from_wire("state").expect("a state");
    Transition {
        run,
        version: u64::try_from(wire.version).expect("a version"),
        from: (wire.version > 1).then(|| state(wire.from())),
        to: state(wire.to()),
        cause: Cause::from_name(&wire.cause).expect("a cause"),
        fence: u64::try_from(wire.fence).expect("a fence"),
        session: None,
        actor: Actor::System,
        at: wire.time.expect("its time").from_wire("time").expect("a time"),
        record: Record::Quiet,
    }
}
