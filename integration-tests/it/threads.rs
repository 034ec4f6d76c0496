//! Following a thread: every turn, in order, each event once, whatever dies meanwhile.

use crate::harness::{mesh, small};
use runmesh_client::history::History;
use runmesh_client::{EndReason, SendOptions, Start, ThreadFollow, ThreadStart, ThreadUpdate, Update};
use runmesh_domain::event::Event;
use runmesh_domain::id::RunId;
use runmesh_domain::run::StateName;
use runmesh_testkit::Service;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(90);

/// A follower of a thread, and what it was told.
struct Follower {
    follow: ThreadFollow,
    turns: Vec<Turn>,
    reconnects: usize,
}

/// A turn as it was told.
struct Turn {
    run: RunId,
    number: u64,
    history: History,
}

impl Turn {
    fn events(&self) -> Vec<(u64, Event)> {
        self.history.events()
    }

    fn end(&self) -> Option<StateName> {
        self.events().last().and_then(|(_, event)| if let Event::RunFinished(end) = event { Some(end.state) } else { None })
    }
}

impl Follower {
    fn new(follow: ThreadFollow) -> Self {
        Self { follow, turns: Vec::new(), reconnects: 0 }
    }

    async fn step(&mut self) {
        let update = tokio::time::timeout(DEADLINE, self.follow.next()).await.expect("an update in time");
        match update.expect("no end").expect("the stream keeps its promises") {
            ThreadUpdate::Turn { run, turn_number } => {
                self.turns.push(Turn { run, number: turn_number, history: History::default() });
            }
            ThreadUpdate::Of(update) => {
                assert!(!matches!(update, Update::Reset(_)), "nothing was declared void");
                self.reconnects += usize::from(matches!(update, Update::Reconnecting { .. }));
                if let Some(turn) = self.turns.last_mut() {
                    turn.history.take(&update);
                }
            }
        }
    }

    /// Follows until `count` turns are over.
    async fn until_over(&mut self, count: usize) {
        while self.turns.iter().filter(|turn| turn.end().is_some()).count() < count {
            self.step().await;
        }
    }

    /// Every turn from `first` on, each whole, in order.
    fn assert_exact(&self, first: u64, runs: &[RunId]) {
        let told: Vec<_> = self.turns.iter().map(|turn| (turn.run, turn.number)).collect();
        assert_eq!(told, runs.iter().copied().zip(first..).collect::<Vec<_>>());
        for turn in &self.turns {
            turn.history.check(Some(1)).unwrap_or_else(|broken| panic!("turn {}: {broken}", turn.number));
            assert_eq!(turn.end(), Some(StateName::Completed), "turn {}", turn.number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_turns_in_order_over_a_relay_that_is_killed() {
    let mut mesh = mesh().start().await;
    let thread = mesh.thread().await;
    // Attached before there is anything, one through each gateway; at least one of them is at each relay.
    let follow = |n: usize| Follower::new(mesh.client(n % 2).follow_thread(thread, ThreadStart::Snapshot));
    let mut followers: Vec<_> = (0..4).map(follow).collect();
    for follower in &mut followers {
        while follower.follow.cursor().is_none() {
            follower.step().await;
        }
    }
    let mut sent = Vec::new();
    for message in ["many:5", "slow:40x50", "many:7"] {
        sent.push(mesh.client(0).send(thread, message, SendOptions::default()).await.expect("accepted"));
    }
    let runs: Vec<_> = sent.iter().map(|sent| sent.run).collect();
    let text = |(_, event): &(u64, Event)| matches!(event, Event::TextDelta { .. });
    for follower in &mut followers {
        while follower.turns.get(1).is_none_or(|turn| !turn.events().iter().any(text)) {
            follower.step().await;
        }
        assert_eq!(follower.turns[1].end(), None, "the second turn is under way");
    }
    mesh.kill(Service::Relay(0));
    for follower in &mut followers {
        follower.until_over(3).await;
        follower.assert_exact(1, &runs);
        assert_eq!(follower.follow.view().text().matches("chunk-").count(), 7);
    }
    assert!(followers.iter().any(|follower| follower.reconnects > 0), "the dead relay had a follower");
    assert!(followers.iter().any(|follower| follower.reconnects == 0), "the living one too");
    for turn in followers.windows(2).flat_map(|pair| pair[0].turns.iter().zip(&pair[1].turns)) {
        assert_eq!(turn.0.events(), turn.1.events(), "all were told the same");
    }

    // A cursor of the middle: the rest of that turn, and what follows.
    let second = &followers[0].turns[1].events();
    let half = second.len() as u64 / 2;
    let mut seen = 0;
    let mut of_run = mesh.client(1).follow(runs[1], Start::Cursor(sent[1].cursor.clone()));
    while seen < half {
        if let Some(Ok(Update::Events { events, .. })) = of_run.next().await {
            seen = events.last().expect("an event").0;
        }
    }
    let cursor = of_run.cursor().expect("a cursor").to_owned();
    let mut rest = Follower::new(mesh.client(1).follow_thread(thread, ThreadStart::Cursor(cursor)));
    rest.until_over(if seen == second.len() as u64 { 1 } else { 2 }).await;
    let told: Vec<_> = rest.turns.iter().flat_map(Turn::events).collect();
    let third = followers[0].turns[2].events();
    let wanted: Vec<_> = second.iter().filter(|(seq, _)| *seq > seen).chain(&third).cloned().collect();
    assert_eq!(told, wanted);

    // That of an accepted message: its turn from the first event on. It fits its run too, as above.
    let mut accepted = Follower::new(mesh.client(0).follow_thread(thread, ThreadStart::Cursor(sent[1].cursor.clone())));
    accepted.until_over(2).await;
    accepted.assert_exact(2, &runs[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_goes_on_after_it_was_idle_and_ends_with_its_deletion() {
    let mesh = small().start().await;
    let first = mesh.send("many:3").await;
    mesh.ended(&first).await;
    let mut follower = Follower::new(mesh.client(0).follow_thread(first.thread, ThreadStart::Snapshot));
    follower.step().await;
    assert!(follower.turns.is_empty() && follower.follow.cursor().is_some(), "what is over is not shown again");
    let second = mesh.send_on(first.thread, "many:4").await;
    follower.until_over(1).await;
    follower.assert_exact(2, &[second.id]);
    mesh.client(0).delete_thread(first.thread).await.expect("deleted");
    let end = async {
        loop {
            if let ThreadUpdate::Of(Update::End { reason, .. }) = follower.follow.next().await.expect("an end").expect("no error")
            {
                return reason;
            }
        }
    };
    assert_eq!(tokio::time::timeout(DEADLINE, end).await.expect("in time"), EndReason::Finished);
}
