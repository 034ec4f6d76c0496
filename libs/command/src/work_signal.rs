//! Whether a look for READY runs is worth its transaction. Knows nothing of runs or sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Wakes the loop that claims runs. Capacity alone does not make it look: only when there may be work, too.
#[derive(Debug, Default)]
pub struct WorkSignal {
    may_have_work: AtomicBool,
    changed: Notify,
}

impl WorkSignal {
    /// Runs may have become READY, or claimable.
    pub fn work_arrived(&self) {
        self.keep_work();
        self.changed.notify_one();
    }

    /// A session has room again.
    pub fn capacity_freed(&self) {
        self.changed.notify_one();
    }

    /// There may be more work than the last look took. Wakes nobody.
    pub fn keep_work(&self) {
        self.may_have_work.store(true, Ordering::SeqCst);
    }

    /// Whether there may be work; from now on there is none until somebody says so. To be called before the look, so that
    /// work that comes during it is not forgotten.
    pub fn take_work(&self) -> bool {
        self.may_have_work.swap(false, Ordering::SeqCst)
    }

    /// Waits for work or capacity; what came since the last wait counts.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn capacity_without_work_wakes_and_finds_nothing() {
        let signal = WorkSignal::default();
        signal.capacity_freed();
        assert!(signal.changed().now_or_never().is_some());
        assert!(!signal.take_work());
        assert!(signal.changed().now_or_never().is_none());
    }

    #[test]
    fn work_that_comes_during_a_look_is_looked_for() {
        let signal = WorkSignal::default();
        signal.work_arrived();
        assert!(signal.take_work());
        signal.work_arrived();
        assert!(signal.changed().now_or_never().is_some());
        assert!(signal.take_work());
        assert!(!signal.take_work());
    }
}
