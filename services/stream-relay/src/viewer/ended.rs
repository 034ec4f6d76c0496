//! A run that is over: its log is read to its end, and its state comes from Postgres, which has all of it.

use crate::hub::Since;
use crate::relay::Relay;
use crate::truth::{For, Journal};
use runmesh_bus::RunKey;
use runmesh_domain::Result;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::log::Tail;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct EndedRun {
    /// The end of the log; absent when the log does not hold the run's end.
    tail: Option<Tail>,
    /// Since when the log could not be read.
    away_since: Option<Instant>,
}

impl EndedRun {
    /// Looks where the log ends, and brings it up when it lacks the end. Without a log Postgres answers.
    pub async fn find(relay: &Relay, key: RunKey) -> Self {
        let mut run = Self { tail: None, away_since: None };
        run.look(relay, key).await;
        run
    }

    /// Looks where the log ends, once more.
    pub async fn look(&mut self, relay: &Relay, key: RunKey) {
        let tail = async {
            let tail = relay.bus.log().tail(key).await?;
            if tail.finished { Ok(tail) } else { relay.bring_up(For::Viewer, key, tail).await }
        };
        match tail.await {
            Ok(tail) => (self.tail, self.away_since) = (Some(tail).filter(|tail| tail.finished), None),
            Err(error) => {
                tracing::debug!(run = %key.run, %error, "the log of an ended run cannot be read");
                self.away_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Since when the log could not be read; absent when it was read.
    pub const fn away_since(&self) -> Option<Instant> {
        self.away_since
    }

    /// The end of the log, when it holds the run's end.
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// What the log holds after a place; none without a log.
    pub fn since(&self, at: Cursor) -> Option<Since> {
        if at.is_at_end {
            return Some(Since::UpToDate);
        }
        let tail = self.tail?;
        Some(if at.seq > tail.seq {
            Since::Ahead
        } else if at.seq < tail.seq {
            Since::Older
        } else if at.chain == tail.chain {
            Since::UpToDate
        } else {
            Since::Forked
        })
    }

    /// The state as Postgres has it, and where the log ends.
    pub async fn journal(&self, relay: &Relay, key: RunKey) -> Result<(Journal, Option<Tail>)> {
        Ok((relay.truth.journal(key.org, key.run).await?, self.tail))
    }
}
