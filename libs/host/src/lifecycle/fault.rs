//! Why a process had to stop. Only the first fault counts: the ones after it are its consequences.

use std::sync::OnceLock;

/// A task that ended with an error or a panic before the drain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} died: {cause}")]
pub struct Fault {
    /// Name given to `spawn`.
    pub task: &'static str,
    /// The error, or the message of the panic.
    pub cause: String,
}

/// Room for the first fault, shared by a lifecycle and its children.
#[derive(Debug, Default)]
pub(super) struct Slot(OnceLock<Fault>);

impl Slot {
    pub(super) fn set(&self, fault: Fault) {
        // A later fault is already logged by its caller.
        let _first = self.0.set(fault);
    }

    pub(super) fn get(&self) -> Option<Fault> {
        self.0.get().cloned()
    }
}

/// The text of a panic's payload.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}
