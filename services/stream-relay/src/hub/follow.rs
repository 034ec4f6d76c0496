//! The one task per watched run: subscribes, reads what it missed, and ends when nobody watches any more.

use super::Hub;
use super::warm::Taken;
use super::watched::Watched;
use crate::limits;
use crate::shown::Shown;
use runmesh_bus::{Batch, Bus, Live};
use runmesh_domain::log::Tail;
use runmesh_domain::{Fault, Result};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Follows one run.
pub struct Follower {
    hub: Hub,
    bus: Bus,
    run: Arc<Watched>,
    reconnects: watch::Receiver<u64>,
    /// When the log is read, after NATS was away.
    look_at: Option<Instant>,
}

enum News {
    Batch(Option<Result<Batch>>),
    Look,
    Reconnected,
    /// Nobody may watch any more.
    Idle,
}

impl Follower {
    /// Of this run.
    pub fn new(hub: Hub, bus: Bus, run: Arc<Watched>) -> Self {
        let mut reconnects = bus.reconnects();
        reconnects.mark_unchanged();
        Self { hub, bus, run, reconnects, look_at: None }
    }

    /// Until nobody watches the run.
    pub async fn run(mut self) {
        while let Err(error) = self.follow().await {
            tracing::debug!(run = %self.run.key().run, %error, "a log cannot be followed");
            self.run.set_log_away(true);
            sleep(limits::RETRY).await;
            if self.hub.let_go(&self.run) {
                return;
            }
        }
    }

    async fn follow(&mut self) -> Result<()> {
        let mut live = self.subscribe().await?;
        loop {
            let news = self.news(&mut live).await;
            match news {
                News::Batch(None) => return Err(closed()),
                News::Batch(Some(batch)) => self.take(&batch?).await?,
                News::Look => {
                    self.look_at = None;
                    self.look().await?;
                }
                News::Reconnected => self.look_at = Some(Instant::now() + self.hub.reconnect_pause()),
                News::Idle => {
                    if self.hub.let_go(&self.run) {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn subscribe(&self) -> Result<Live> {
        let _place = self.hub.place_to_look().await;
        let (live, last) = self.bus.log().follow(self.run.key()).await?;
        self.align(last).await?;
        Ok(live)
    }

    async fn look(&self) -> Result<()> {
        let _place = self.hub.place_to_look().await;
        let last = self.bus.log().last(self.run.key()).await?;
        self.align(last).await
    }

    async fn news(&mut self, live: &mut Live) -> News {
        let look_at = self.look_at;
        let later = async {
            match look_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = live.next() => News::Batch(batch),
            () = self.run.looked_for() => News::Look,
            () = later => News::Look,
            // What came while the connection was away, or what the last leader did not send on any more, was missed.
            Ok(()) = self.reconnects.changed() => News::Reconnected,
            () = self.hub.soft().cancelled(), if !self.hub.soft().is_cancelled() => News::Idle,
            () = self.run.idle() => News::Idle,
        }
    }

    async fn take(&self, batch: &Batch) -> Result<()> {
        match self.run.take(Shown::of(self.run.key(), batch)) {
            Taken::Yes | Taken::Known => Ok(()),
            Taken::Gap => self.bridge(batch).await,
        }
    }

    /// Brings what is at hand to the log's last batch, which nothing at hand is newer than.
    async fn align(&self, last: Option<Batch>) -> Result<()> {
        let is_there = match (self.run.tail(), &last) {
            (Some(tail), Some(batch)) => tail == batch.tail,
            (Some(tail), None) => tail == Tail::default(),
            (None, _) => false,
        };
        match last {
            _ if is_there => {}
            Some(batch) if self.run.tail().is_some() => match self.run.take(Shown::of(self.run.key(), &batch)) {
                Taken::Yes => {}
                Taken::Gap => self.bridge(&batch).await?,
                // The log ends earlier than it did, or is another one.
                Taken::Known => self.run.begin(Some(Shown::of(self.run.key(), &batch))),
            },
            last => self.run.begin(last.as_ref().map(|last| Shown::of(self.run.key(), last))),
        }
        self.run.set_log_away(false);
        Ok(())
    }

    /// From the tail to a batch that does not follow on it.
    async fn bridge(&self, batch: &Batch) -> Result<()> {
        let at = self.run.tail().map_or(0, |tail| tail.stream_seq);
        if batch.tail.stream_seq > at {
            return self.refill(batch.tail.stream_seq).await;
        }
        // The stream was lost and made again.
        self.run.begin(Some(Shown::of(self.run.key(), batch)));
        Ok(())
    }

    /// Reads what is between the tail and `up_to`.
    async fn refill(&self, up_to: u64) -> Result<()> {
        let from = self.run.tail().map_or(0, |tail| tail.stream_seq) + 1;
        let mut replay = self.bus.log().replay(self.run.key(), from, up_to);
        while let Some(batch) = replay.next().await? {
            if self.run.take(Shown::of(self.run.key(), &batch)) == Taken::Gap {
                // The log itself does not go on from what was shown: viewers learn of it by the chain.
                self.run.begin(Some(Shown::of(self.run.key(), &batch)));
            }
        }
        Ok(())
    }
}

fn closed() -> runmesh_domain::Error {
    Fault::Unavailable { part: "nats", detail: "the subscription ended".into() }.into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::hub::Since;
    use futures::future::BoxFuture;
    use runmesh_bus::{BusConfig, PublishOutcome, RunKey};
    use runmesh_domain::chain::Chain;
    use runmesh_domain::id::{OrgId, RunId, ThreadId};
    use runmesh_engines::{DataDir, NatsServer, ServerOptions, Silent};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    struct World {
        _nats: NatsServer,
        bus: Bus,
        follower: Follower,
    }

    impl World {
        async fn start() -> Self {
            let nats = NatsServer::start(&ServerOptions::new(DataDir::Ephemeral), &Silent).await.unwrap();
            let bus = Bus::connect(BusConfig::new(nats.url(), "test")).await.unwrap();
            bus.ensure().await.unwrap();
            let id = Uuid::now_v7();
            let key = RunKey { org: OrgId::from_uuid(id), thread: ThreadId::from_uuid(id), run: RunId::from_uuid(id) };
            let hub = Hub::new(bus.clone(), TaskTracker::new(), CancellationToken::new());
            let follower = Follower::new(hub, bus.clone(), Arc::new(Watched::new(key)));
            Self { _nats: nats, bus, follower }
        }

        /// Appends one event after `tail`.
        async fn append(&self, tail: Tail, word: &str) -> Batch {
            let key = self.follower.run.key();
            let mut batch = Batch::after(key.run, Tail { open: true, ..tail }, vec![word.as_bytes().to_vec().into()]);
            let outcome = self.bus.log().publish(key, &batch, tail.stream_seq).await.unwrap();
            let PublishOutcome::Stored { stream_seq } = outcome else { panic!("{outcome:?}") };
            batch.tail.stream_seq = stream_seq;
            batch
        }

        fn held(&self, seq: u64, chain: Chain) -> Vec<u64> {
            match self.follower.run.since(seq, chain) {
                Since::Batches(batches) => batches.iter().map(|batch| batch.first_seq).collect(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_was_lost_is_read_from_the_log() {
        let world = World::start().await;
        let first = world.append(Tail::default(), "1").await;
        world.follower.align(Some(first.clone())).await.unwrap();
        let second = world.append(first.tail, "2").await;
        let third = world.append(second.tail, "3").await;
        world.follower.take(&third).await.unwrap();
        assert_eq!(world.follower.run.tail(), Some(third.tail));
        assert_eq!(world.held(0, Chain::START), [1, 2, 3]);
        // The lost one comes after all.
        world.follower.take(&second).await.unwrap();
        assert_eq!(world.follower.run.tail(), Some(third.tail));
    }

    /// After a new connection all followers want to look at once.
    #[tokio::test]
    async fn a_look_at_the_log_takes_one_of_few_places() {
        let world = World::start().await;
        let (follower, looks) = (&world.follower, &world.follower.hub.inner.looks);
        let all = looks.available_permits();
        for looking in [Box::pin(follower.look()) as BoxFuture<'_, _>, Box::pin(async { follower.subscribe().await.map(drop) })] {
            let mut looking = looking;
            assert!(futures::poll!(&mut looking).is_pending(), "it asks NATS");
            assert_eq!(looks.available_permits(), all - 1);
            looking.await.unwrap();
            assert_eq!(looks.available_permits(), all);
        }
    }

    #[tokio::test]
    async fn a_log_that_is_another_one_is_begun_anew() {
        let world = World::start().await;
        let first = world.append(Tail::default(), "1").await;
        let known = Tail { stream_seq: 1_000, seq: 7, chain: Chain(7), ..Tail::default() };
        let old = Batch {
            tail: known,
            ..Batch::after(first.run, Tail { seq: 6, chain: Chain(6), ..known }, vec![b"7".to_vec().into()])
        };
        world.follower.align(Some(old)).await.unwrap();
        world.follower.align(Some(first.clone())).await.unwrap();
        assert_eq!(world.follower.run.tail(), Some(first.tail));
        world.follower.align(None).await.unwrap();
        assert_eq!(world.follower.run.tail(), Some(Tail::default()));
    }
}
