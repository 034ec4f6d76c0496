//! How the session tells a run that it must stop, and with which token it calls. Holds no logic of its own.

use tokio_util::sync::CancellationToken;

/// Why a run is to stop what it does, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The lease is gone: write nothing more.
    Lost,
    /// Somebody wants the run to end.
    Cancel,
    /// The worker goes down: give the run back.
    Drain,
}

/// The strings a session holds of one run.
#[derive(Debug)]
pub(crate) struct Control {
    /// Set once the lease is gone.
    pub(crate) lost: CancellationToken,
    /// Set once a cancel was acknowledged.
    pub(crate) cancel: CancellationToken,
    /// Set once the worker drains.
    pub(crate) drain: CancellationToken,
    /// Set once the worker has no more time to wait for calls that may not be repeated.
    pub(crate) hurry: CancellationToken,
    /// The bearer token of the run's calls.
    pub(crate) token: String,
}

impl Control {
    /// For a run whose calls carry `token`, under a worker's own tokens.
    pub(crate) fn new(token: String, drain: CancellationToken, hurry: CancellationToken) -> Self {
        Self { lost: CancellationToken::new(), cancel: CancellationToken::new(), drain, hurry, token }
    }

    /// The strongest interrupt that has come already.
    pub(crate) fn pending(&self) -> Option<Interrupt> {
        if self.lost.is_cancelled() {
            Some(Interrupt::Lost)
        } else if self.cancel.is_cancelled() {
            Some(Interrupt::Cancel)
        } else if self.drain.is_cancelled() {
            Some(Interrupt::Drain)
        } else {
            None
        }
    }

    /// Waits for an interrupt.
    pub(crate) async fn interrupted(&self) -> Interrupt {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Interrupt::Lost,
            () = self.cancel.cancelled() => Interrupt::Cancel,
            () = self.drain.cancelled() => Interrupt::Drain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_strongest_interrupt_wins() {
        let drain = CancellationToken::new();
        let control = Control::new("t".into(), drain.clone(), CancellationToken::new());
        assert_eq!(control.pending(), None);
        drain.cancel();
        assert_eq!(control.interrupted().await, Interrupt::Drain);
        control.cancel.cancel();
        assert_eq!(control.pending(), Some(Interrupt::Cancel));
        control.lost.cancel();
        assert_eq!(control.interrupted().await, Interrupt::Lost);
    }
}
