//! A watched run's snapshot, encoded once for all viewers who want it at the same time.

use super::watched::Watched;
use crate::frames;
use crate::limits;
use crate::relay::Relay;
use runmesh_bus::RunKey;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::fold::RunView;
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_domain::{Fault, Result};
use runmesh_wire::pb::relay::AttachRunResponse;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout};

/// The state folded from the log, as frames.
#[derive(Debug)]
pub struct Snapshot {
    /// What it covers.
    pub at: Cursor,
    /// The state that the run ended in, when it covers the end.
    pub end: Option<StateName>,
    /// Its parts.
    pub frames: Vec<AttachRunResponse>,
    /// When the log was looked at for it.
    begun: Instant,
}

impl Snapshot {
    fn of(key: RunKey, tail: Option<Tail>, view: RunView, begun: Instant) -> Self {
        let start = Cursor::start(key.thread, key.run);
        let at = match tail {
            Some(tail) if (tail.seq, tail.chain) == (view.seq, view.chain) => start.at_tail(&tail),
            Some(_) | None => start.at(view.seq, view.chain),
        };
        let end = view.finished.as_ref().map(|finished| finished.state);
        Self { at, end, frames: frames::snapshot(view, at, false), begun }
    }
}

/// Makes snapshots of one run, one at a time.
#[derive(Debug, Default)]
pub struct Snapshots {
    making: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl Snapshots {
    /// Lets go of the last one.
    pub fn clear(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot of the log as it is at this call or later. However many ask while one is made, the next one serves all of them. None
    /// when the log does not reach what is at hand.
    pub async fn get(&self, relay: &Relay, run: &Watched) -> Result<Option<Arc<Snapshot>>> {
        let asked = Instant::now();
        let turn = timeout(limits::LOG_WAIT, self.making.lock()).await;
        let _turn = turn.map_err(|_| Fault::Unavailable { part: "nats", detail: "folding the log takes too long".into() })?;
        let is_new = |last: &Arc<Snapshot>| last.begun >= asked || run.tail().is_some_and(|tail| is_at(last.at, &tail));
        if let Some(last) = self.last().filter(is_new) {
            return Ok(Some(last));
        }
        let begun = Instant::now();
        let Some(view) = run.view(relay).await? else { return Ok(None) };
        let made = Arc::new(Snapshot::of(run.key(), run.tail(), view, begun));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        Ok(Some(made))
    }
}

fn is_at(at: Cursor, tail: &Tail) -> bool {
    (at.seq, at.chain, at.stream_seq) == (tail.seq, tail.chain, tail.stream_seq)
}
