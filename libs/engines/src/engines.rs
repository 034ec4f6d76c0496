//! Both engines on one data folder. Decides nothing about what is stored in them.

use std::{path::Path, sync::Arc};

use crate::{
    error::EngineError,
    home::Home,
    nats::NatsServer,
    options::{EngineOptions, ServerOptions},
    postgres::PostgresServer,
    progress::Progress,
};

/// Postgres and NATS, started here or given. Dropped without [`Engines::stop`] (or with its whole process killed), what
/// was started here is stopped in the background within about five seconds.
#[derive(Debug)]
pub struct Engines {
    postgres: Source<PostgresServer>,
    nats: Source<NatsServer>,
    home: Arc<Home>,
}

#[derive(Debug)]
enum Source<S> {
    Given(String),
    Started(S),
}

impl<S> Source<S> {
    fn server(&self) -> Option<&S> {
        match self {
            Source::Given(_) => None,
            Source::Started(server) => Some(server),
        }
    }
}

impl Engines {
    /// Takes the data folder and starts, side by side, what is not given by URL. An engine missing on this machine is
    /// installed first, which needs a network and may take minutes.
    ///
    /// # Errors
    /// [`EngineError::DataInUse`] when another process holds the folder; otherwise whatever kept an engine from coming
    /// up. Nothing is left running.
    pub async fn start(options: EngineOptions, progress: &dyn Progress) -> Result<Self, EngineError> {
        let EngineOptions { data_dir, cache_dir, postgres_url, nats_url, durability } = options;
        let home = Home::open(&data_dir)?;
        let server = ServerOptions { data_dir, cache_dir, durability };
        let postgres = async {
            match postgres_url {
                Some(url) => Ok(Source::Given(url)),
                None => PostgresServer::start_in(Arc::clone(&home), &server, progress).await.map(Source::Started),
            }
        };
        let nats = async {
            match nats_url {
                Some(url) => Ok(Source::Given(url)),
                None => NatsServer::start_in(Arc::clone(&home), &server, progress).await.map(Source::Started),
            }
        };
        // Both to their end: dropping a half-done start would leave its engine to the keeper.
        match tokio::join!(postgres, nats) {
            (Ok(postgres), Ok(nats)) => Ok(Self { postgres, nats, home }),
            (Err(error), other) => {
                clean_up(&home, async { other.ok()?.server()?.stop().await.err() }).await;
                Err(error)
            }
            (other, Err(error)) => {
                clean_up(&home, async { other.ok()?.server()?.stop().await.err() }).await;
                Err(error)
            }
        }
    }

    /// Where Postgres is: a database owned by its superuser, or what was given.
    #[must_use]
    pub fn postgres_url(&self) -> &str {
        match &self.postgres {
            Source::Given(url) => url,
            Source::Started(server) => server.url(),
        }
    }

    /// Where NATS is.
    #[must_use]
    pub fn nats_url(&self) -> &str {
        match &self.nats {
            Source::Given(url) => url,
            Source::Started(server) => server.url(),
        }
    }

    /// The folder held by this process: absolute, without links.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.home.folder()
    }

    /// The Postgres started here; `None` when a URL was given.
    #[must_use]
    pub fn postgres(&self) -> Option<&PostgresServer> {
        self.postgres.server()
    }

    /// The NATS started here; `None` when a URL was given.
    #[must_use]
    pub fn nats(&self) -> Option<&NatsServer> {
        self.nats.server()
    }

    /// Stops what was started here, removes an ephemeral folder, and frees the data folder for others.
    ///
    /// # Errors
    /// The first failure; everything is tried.
    pub async fn stop(self) -> Result<(), EngineError> {
        let postgres = async {
            match self.postgres() {
                Some(server) => server.stop().await,
                None => Ok(()),
            }
        };
        let nats = async {
            match self.nats() {
                Some(server) => server.stop().await,
                None => Ok(()),
            }
        };
        let (postgres, nats) = tokio::join!(postgres, nats);
        let keeper = self.home.keeper().close().await;
        postgres.and(nats).and(keeper)
    }
}

/// After a failed start: the error that matters is the start's, so failures in here are only logged.
async fn clean_up(home: &Home, stop: impl Future<Output = Option<EngineError>>) {
    let stopped = stop.await;
    let closed = home.keeper().close().await.err();
    for error in stopped.into_iter().chain(closed) {
        tracing::warn!(%error, "cleaning up after a failed start");
    }
}
