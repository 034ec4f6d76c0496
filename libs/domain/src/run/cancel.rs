//! A cancel of a run: how the run is to end, and who wants that.

use crate::actor::Actor;

/// When a canceled run is to end. Stored by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CancelMode {
    /// At the end of the step that is under way.
    AfterStep,
    /// Now: what is under way is given up.
    Now,
}

impl CancelMode {
    /// Every mode, the more patient first.
    pub const ALL: [Self; 2] = [Self::AfterStep, Self::Now];

    /// The stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterStep => "after_step",
            Self::Now => "now",
        }
    }

    /// The mode of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A cancel that was acknowledged. It is never taken back; a cancel after the step may become one for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// When the run is to end.
    pub mode: CancelMode,
    /// Who asked first.
    pub by: Actor,
}
