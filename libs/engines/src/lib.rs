//! Private Postgres and NATS servers for `runmesh dev` and for tests.
//!
//! Finds the two engines on this machine (or installs them), starts them on a folder of data, and makes sure that
//! they never outlive the process that started them. It never speaks SQL or publishes a message: it hands out URLs.

mod account;
mod command;
mod engines;
mod error;
mod folder;
mod home;
mod keeper;
mod limits;
mod lock;
mod log_file;
mod nats;
mod options;
mod pip;
mod postgres;
mod process;
mod progress;
mod server;
mod version;

pub use engines::Engines;
pub use error::{Engine, EngineError};
pub use nats::{NatsCluster, NatsServer};
pub use options::{DataDir, Durability, EngineOptions, ServerOptions, default_cache_dir};
pub use postgres::PostgresServer;
pub use progress::{Progress, Silent};
