//! The looks at Postgres for all who wait at threads, one at a time: threads that are due are looked at together, at once when a
//! hint came, and all of them now and then, because hints may be lost.

use super::ThreadHub;
use super::entry::{Entry, Found};
use crate::limits;
use crate::truth::Truth;
use runmesh_bus::{Bus, MemberHints};
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Error, Fault, Result};
use runmesh_host::random;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug)]
pub struct Looks {
    hub: ThreadHub,
    bus: Bus,
    truth: Truth,
    /// The longest time between two looks at a thread.
    longest: Duration,
    /// When all of them are looked at.
    at_all: Instant,
    reconnects: watch::Receiver<u64>,
    members: Option<MemberHints>,
}

/// What makes threads due.
enum News {
    Due,
    Time,
    Reconnected,
    Members(Option<OrgId>),
}

impl Looks {
    /// For those who wait at the threads of a hub.
    pub fn new(hub: ThreadHub, bus: Bus, truth: Truth, longest: Duration) -> Self {
        let mut reconnects = bus.reconnects();
        reconnects.mark_unchanged();
        let mut looks = Self { hub, bus, truth, longest, at_all: Instant::now(), reconnects, members: None };
        looks.wait();
        looks
    }

    /// Until `soft` is cancelled: viewers leave then.
    pub async fn run(mut self, soft: CancellationToken) {
        loop {
            if self.members.is_none() {
                self.members = self.bus.member_hints().await.ok();
            }
            let Some(news) = soft.run_until_cancelled(self.news()).await else { return };
            match news {
                News::Due => {}
                News::Time => self.look_at_all(),
                // Hints may have been lost. Not at once: every relay has lost them, and each lets the others go first.
                News::Reconnected => {
                    self.at_all = self.at_all.min(Instant::now() + random::between(Duration::ZERO, limits::LOOK_SPREAD))
                }
                News::Members(Some(org)) => self.hub.look_at_those(|(of, _)| *of == org),
                News::Members(None) => self.members = None,
            }
            if soft.run_until_cancelled(self.look()).await.is_none() {
                return;
            }
        }
    }

    fn wait(&mut self) {
        self.at_all = Instant::now() + random::between(self.longest / 4, self.longest);
    }

    fn look_at_all(&mut self) {
        self.wait();
        self.hub.look_at_those(|_| true);
    }

    async fn news(&mut self) -> News {
        let members = async {
            match &mut self.members {
                Some(members) => members.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.hub.is_due() => News::Due,
            () = sleep_until(self.at_all) => News::Time,
            Ok(()) = self.reconnects.changed() => News::Reconnected,
            org = members => News::Members(org),
        }
    }

    /// Looks at what is due, until nothing is.
    async fn look(&self) {
        loop {
            let entries = self.hub.take_due(limits::LOOK_THREADS);
            if entries.is_empty() {
                return;
            }
            if let Err(error) = self.look_at(&entries).await {
                match error {
                    Error::Fault(Fault::Unavailable { part, detail }) => {
                        tracing::debug!(part, detail, "threads cannot be looked at");
                    }
                    error => tracing::error!(%error, "a look at threads failed"),
                }
                entries.iter().for_each(|entry| self.hub.look_at(entry.key()));
                sleep(random::jittered(limits::RETRY)).await;
            }
            // Hints that come close together cost one look.
            sleep(limits::LOOK_GATHER).await;
        }
    }

    async fn look_at(&self, entries: &[Arc<Entry>]) -> Result<()> {
        let asked: Vec<Vec<UserId>> = entries.iter().map(|entry| entry.people()).collect();
        let people: HashSet<(OrgId, UserId)> =
            entries.iter().zip(&asked).flat_map(|(entry, users)| users.iter().map(|user| (entry.key().0, *user))).collect();
        let threads = entries.iter().map(|entry| entry.key()).collect();
        let seen = self.truth.look_at_threads(threads, people.into_iter().collect()).await?;
        for (entry, asked) in entries.iter().zip(&asked) {
            let (org, thread) = entry.key();
            let found = seen.turns.get(&thread).map_or(Found::Gone, |turn| Found::There(*turn));
            let members = asked.iter().filter(|user| seen.members.contains(&(org, **user))).copied().collect();
            entry.note(found, asked, &members);
        }
        Ok(())
    }
}
