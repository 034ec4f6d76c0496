//! SIGTERM and SIGINT: the first begins the drain, the second ends the process at once.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Lifecycle;
use crate::exit;

impl Lifecycle {
    /// Installs the handlers. Call it once, on the lifecycle of the process.
    ///
    /// # Errors
    ///
    /// When the system refuses to register a handler.
    pub fn handle_signals(&self) -> io::Result<()> {
        let mut signals = Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? };
        let life = self.clone();
        let listener = async move {
            signals.next().await;
            tracing::info!("signal received, draining");
            life.stop();
            signals.next().await;
            tracing::warn!("second signal received, exiting now");
            std::process::exit(i32::from(exit::INTERRUPTED));
        };
        // Not tracked by the drain, which must not wait for a second signal: the runtime ends it with the process.
        let guard = self.hard().clone();
        drop(tokio::spawn(async move {
            let _: Option<Infallible> = guard.run_until_cancelled_owned(listener).await;
        }));
        Ok(())
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
