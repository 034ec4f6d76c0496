//! Applying changes. Total: every change that was decided can be applied, today and on replay.

use super::Run;
use super::command::Change;
use super::state::State;

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
                self.barren_attempts += u32::from(*counts);
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
