//! Everything Postgres: the schema, its roles, the one transaction wrapper, and a module per aggregate.
//!
//! *Invariant:* no other crate names sqlx. *Invariant R2:* [`runs::transition`] and the functions beside it are the only
//! writers of `runs` and `run_transitions`; what they write is what `Run::decide` and `Run::apply` of the domain said.
//! *Invariant:* a transaction locks in this order: thread, run, action. Nothing here talks to NATS or to a worker.

mod clock;
mod columns;
mod command;
mod db;
mod error;
mod migrate;
mod open_counts;
mod page;
mod pool;
mod purge;
mod schema;
mod scope;
mod stored;
mod tx;

pub mod actions;
pub mod agents;
#[cfg(feature = "fail-points")]
pub mod fail_point;
pub mod idempotency;
pub mod maintenance;
pub mod orgs;
pub mod outbox;
pub mod probe;
pub mod runs;
pub mod sessions;
pub mod steps;
pub mod summary;
pub mod threads;

pub use command::Command;
pub use db::{Db, Role, StoreConfig};
pub use migrate::{MIGRATION_LOCK, Migrated, newest_migration};
pub use page::{Page, PageRequest};
pub use purge::{Purged, purge};
pub use schema::Schema;
pub use scope::Scope;
pub use tx::Tx;
