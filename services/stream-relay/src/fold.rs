//! Folding a log from its head. Stops where batches do not join: such a log gives no whole view.

use crate::shown::Shown;
use runmesh_bus::{Log, Replay, RunKey};
use runmesh_domain::Result;
use runmesh_domain::fold::RunView;

/// A fold under way.
#[derive(Debug)]
pub struct Folding {
    replay: Replay,
    view: RunView,
}

impl Folding {
    /// From the head of a run's log; `up_to` is the stream sequence that the log is known to reach.
    pub fn new(log: &Log, key: RunKey, up_to: u64) -> Self {
        Self { replay: log.replay(key, 0, up_to), view: RunView::default() }
    }

    /// Folds up to event `seq`, the last of a batch. False when the log does not hold every event up to there.
    pub async fn reach(&mut self, seq: u64) -> Result<bool> {
        while self.view.seq < seq {
            let Some(batch) = self.replay.next().await? else { return Ok(false) };
            let shown = Shown::of(&batch);
            if !shown.joins(self.view.seq, self.view.chain) {
                return Ok(false);
            }
            shown.fold_into(&mut self.view);
        }
        Ok(self.view.seq == seq)
    }

    /// The view so far.
    pub const fn view(&self) -> &RunView {
        &self.view
    }
}
