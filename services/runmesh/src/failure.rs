//! How a command of this binary fails: what to print, what to try, which code to exit with.

use runmesh_host::exit;
use std::fmt::Display;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One plain line.
    pub message: String,
    /// What to do next, when we know.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    fn new(message: impl Into<String>, code: u8) -> Self {
        Self { message: message.into(), hint: None, code }
    }

    /// The command line or a configuration is wrong; nothing was bound.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(message, exit::CONFIG)
    }

    /// Something that is needed is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(message, exit::UNAVAILABLE)
    }

    /// A task died.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(message, exit::FAULT)
    }

    /// The command was understood and refused.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(message, 1)
    }

    /// A service that could not start.
    pub fn start(error: impl Display) -> Self {
        Self::unavailable(error.to_string())
    }

    /// With what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
