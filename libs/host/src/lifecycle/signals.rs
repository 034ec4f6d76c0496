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
        self.spawn_aside::<_, Infallible>("signals", async move {
            signals.next().await;
            tracing::info!("signal received, draining");
            life.stop();
            signals.next().await;
            tracing::warn!("second signal received, exiting now");
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
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
