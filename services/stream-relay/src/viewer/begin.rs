//! How a stream begins: who may see the run, where the client stands, and the first frame.

use super::ended::EndedRun;
use super::{Next, Source, Viewer};
use crate::frames;
use crate::relay::Relay;
use crate::truth::Seen;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::{Refusal, Result};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_run_request as wire;
use std::collections::VecDeque;
use tokio::time::Instant;

/// Where a client wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the state so far.
    Snapshot,
    /// After what it has seen.
    Cursor(Cursor),
    /// With the first event.
    Start,
    /// With what comes next.
    Live,
}

impl From {
    /// As a request for a run says it.
    pub fn of_run(from: Option<wire::From>) -> Result<Self, Refusal> {
        Ok(match from {
            None | Some(wire::From::Snapshot(pb::FromSnapshot {})) => Self::Snapshot,
            Some(wire::From::Cursor(text)) => Self::Cursor(text.parse()?),
            Some(wire::From::Start(pb::FromStart {})) => Self::Start,
            Some(wire::From::Live(pb::FromLive {})) => Self::Live,
        })
    }
}

impl Viewer {
    /// A stream of a run that a person may see, until their credentials end.
    pub async fn of(relay: Relay, seen: Seen, from: From, until: Instant) -> Self {
        let is_over = seen.is_over();
        let Seen { key, turn_number: _, place: _, waits, position: _ } = seen;
        let source = if is_over {
            Source::Ended(EndedRun::find(&relay, key).await)
        } else {
            let run = relay.hub.watch(key);
            run.set_waits(waits);
            let changes = run.changes();
            Source::Watched { run, changes }
        };
        Self {
            key,
            source,
            at: if let From::Cursor(cursor) = from { cursor } else { Cursor::start(key.thread, key.run) },
            state: waits.state,
            out: VecDeque::new(),
            reading: None,
            waits,
            shown_status: None,
            last_frame: Instant::now(),
            next: Next::Begin(from),
            relay,
            until,
        }
    }

    /// Begins with what comes next, and says after what that is. The log must be there to know it.
    pub async fn go_live(&mut self) -> Result<Cursor> {
        if let Some(tail) = self.live_tail().await? {
            self.at = self.at.at_tail(&tail);
        }
        self.next = Next::Begin(From::Cursor(self.at));
        Ok(self.at)
    }

    /// The first frame is a snapshot, or at once what the run waits for, or a sign of life. Whoever begins live learns first
    /// where that is: coming back before the first event, it misses none.
    pub(super) async fn begin(&mut self, from: From) -> Result<Next> {
        let status = match &self.source {
            Source::Watched { .. } => self.waits.status(false),
            Source::Ended(_) => None,
        };
        match from {
            From::Snapshot => return Ok(Next::Snapshot(None)),
            From::Cursor(_) | From::Start => {}
            From::Live => self.at = self.go_live().await?,
        }
        if status.is_none() || from == From::Live {
            self.out.push_back(frames::progress(self.at));
        }
        if let Some(status) = status {
            self.shown_status = Some(status);
            self.out.push_back(frames::status(status));
        }
        Ok(Next::Seek)
    }

    async fn live_tail(&self) -> Result<Option<runmesh_domain::log::Tail>> {
        match &self.source {
            Source::Watched { run, .. } => run.ready().await.map(Some),
            Source::Ended(run) => Ok(run.tail()),
        }
    }
}
