//! Whether a look for READY runs is worth its transaction. Knows nothing of runs or sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What wakes the dispatcher. Credits alone do not make it look: only when there may be runs, too.
#[derive(Debug, Default)]
pub struct Ready {
    perhaps: AtomicBool,
    changed: Notify,
}

impl Ready {
    /// Runs may have become READY, or claimable.
    pub fn work(&self) {
        self.keep();
        self.changed.notify_one();
    }

    /// A session has room again.
    pub fn room(&self) {
        self.changed.notify_one();
    }

    /// There may be more than the last look took.
    pub fn keep(&self) {
        self.perhaps.store(true, Ordering::SeqCst);
    }

    /// Whether there may be runs; from now on there are none until somebody says so. To be called before the look, so that
    /// what comes during it is not forgotten.
    pub fn take(&self) -> bool {
        self.perhaps.swap(false, Ordering::SeqCst)
    }

    /// Waits for work or room; one that came since the last wait counts.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn room_without_work_wakes_and_finds_nothing() {
        let ready = Ready::default();
        ready.room();
        assert!(ready.changed().now_or_never().is_some());
        assert!(!ready.take());
        assert!(ready.changed().now_or_never().is_none());
    }

    #[test]
    fn work_that_comes_during_a_look_is_looked_for() {
        let ready = Ready::default();
        ready.work();
        assert!(ready.take());
        ready.work();
        assert!(ready.changed().now_or_never().is_some());
        assert!(ready.take());
        assert!(!ready.take());
    }
}
