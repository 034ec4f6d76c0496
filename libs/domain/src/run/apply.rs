//! Applying changes. Total: every change that was decided can be applied, today and on replay.

use super::Run;
use super::command::Change;
use super::state::State;
use crate::limits::{ATTEMPT_BACKOFF, ATTEMPT_BACKOFF_MAX};
use std::time::Duration;

impl Run {
    /// The run after `change`.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::CancelRequested { cancel } => {
                self.cancel = Some(*cancel);
                return;
            }
            Change::Promoted => self.state = State::Ready,
            Change::Claimed { session } => {
                self.state = State::Running { session: *session };
                self.fence += 1;
            }
            Change::GivenBack { taken, counts } => {
                self.state = State::Ready;
                self.fence += u64::from(*taken);
                let attempts = if *counts { &mut self.barren_attempts } else { &mut self.cut_attempts };
                *attempts = attempts.saturating_add(1);
            }
            Change::Paused { action, taken } => {
                self.state = State::Waiting { action: *action };
                self.fence += u64::from(*taken);
            }
            Change::Ended { ended, taken, .. } => {
                self.state = State::Ended(ended.clone());
                self.fence += u64::from(*taken);
            }
        }
        self.version += 1;
    }

    /// Attempts in a row that ended without a journaled step.
    #[must_use]
    pub const fn attempts_in_vain(&self) -> u32 {
        self.barren_attempts.saturating_add(self.cut_attempts)
    }

    /// How long the run waits before its next attempt: not at all after the first one in vain, then longer and longer.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        match self.attempts_in_vain() {
            0 | 1 => Duration::ZERO,
            more => ATTEMPT_BACKOFF.saturating_mul(1 << (more - 2).min(16)).min(ATTEMPT_BACKOFF_MAX),
        }
    }

    /// Gives a turn its place in the conversation, unless it has one. Answers whether the place was taken.
    pub const fn take_place(&mut self, place: u64) -> bool {
        let takes = matches!(self.kind, super::RunKind::Turn) && self.place.is_none();
        if takes {
            self.place = Some(place);
        }
        takes
    }

    /// A step was journaled: the attempts so far were not in vain.
    pub const fn note_progress(&mut self) {
        self.barren_attempts = 0;
        self.cut_attempts = 0;
    }
}
