//! How a start tells its caller what it is doing. Never decides how that is shown.

/// Hears about the slow steps of a start, such as an install.
pub trait Progress: Send + Sync {
    /// A step has begun. The message is a lowercase phrase without a full stop.
    fn step(&self, message: &str);
}

/// Shows nothing: for tests and for callers without a terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _message: &str) {}
}
