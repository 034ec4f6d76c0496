//! Folding a log. From its head, or from where it was begun anew, when it holds that. Of a log without its head, the journal says what
//! came before: the steps that the first batch's header counts.

use crate::relay::Relay;
use crate::shown::Shown;
use runmesh_bus::{Replay, RunKey};
use runmesh_domain::Result;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;

/// A fold under way.
#[derive(Debug)]
pub struct Folding {
    relay: Relay,
    key: RunKey,
    replay: Replay,
    view: RunView,
    /// Read, and not folded yet.
    next: Option<Shown>,
}

impl Folding {
    /// Of a run's log; `up_to` is the stream sequence that the log is known to reach.
    pub fn new(relay: &Relay, key: RunKey, up_to: u64) -> Self {
        let replay = relay.bus.log().replay(key, 0, up_to);
        Self { relay: relay.clone(), key, replay, view: RunView::default(), next: None }
    }

    /// Folds up to event `seq`, the last of a batch. False when the log does not reach it, or ends a batch elsewhere.
    pub async fn reach(&mut self, seq: u64) -> Result<bool> {
        while self.view.seq < seq {
            let next = match self.next.take() {
                Some(next) => next,
                None => match self.replay.next().await? {
                    Some(batch) => Shown::of(self.key, &batch),
                    None => return Ok(false),
                },
            };
            if next.joins(self.view.seq, self.view.chain) || next.restarts() {
                next.fold_into(&mut self.view);
            } else {
                self.view = self.before(&next).await?;
                self.next = Some(next);
            }
        }
        Ok(self.view.seq == seq)
    }

    /// The view so far.
    pub const fn view(&self) -> &RunView {
        &self.view
    }

    /// What came before a batch, as far as it was journaled.
    async fn before(&self, batch: &Shown) -> Result<RunView> {
        let journal = self.relay.truth.journal(self.key.org, self.key.run).await?;
        let mut view = journal.into_view_until(batch.tail.version, batch.first_seq - 1, batch.chain_before);
        let held = first_step(batch).map_or(batch.tail.held.step, |first| first - 1);
        view.steps.retain(|step, _| step.top_step() <= held);
        Ok(view)
    }
}

/// The first step of the top level that the batch finishes.
fn first_step(batch: &Shown) -> Option<u32> {
    batch.events().find_map(|event| match event {
        Event::StepFinished { step, .. } if step.path.is_top() => Some(step.step_index),
        _ => None,
    })
}
