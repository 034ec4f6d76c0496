//! The public Rust client of runmesh: connect, send, and follow a run to its end over any number of broken connections.
//!
//! ```no_run
//! # async fn example() -> Result<(), runmesh_client::ClientError> {
//! use runmesh_client::{Client, Options, SendOptions, Start};
//!
//! let client = Client::connect("http://127.0.0.1:7420", Options::default())?;
//! let thread = client.create_thread("default", "").await?;
//! let sent = client.send(thread, "hello", SendOptions::default()).await?;
//! let mut follow = client.follow(sent.run, Start::Cursor(sent.cursor));
//! let view = follow.to_end().await?;
//! println!("{}", view.text());
//! # Ok(())
//! # }
//! ```
//!
//! Every call that changes something carries an idempotency key, made once per call and reused over its retries, so that a
//! retry never does a thing twice. This crate never talks to Postgres or NATS, and never trusts a stream that does not fit
//! what it holds: a repeated or missing event is an error.

mod address;
mod bounds;
mod calls;
mod client;
mod credentials;
mod error;
mod follow;
pub mod history;
mod key;
mod options;
mod retry;

pub use calls::agents::Applied;
pub use calls::page::{Page, Paging};
pub use calls::runs::{OnBusy, RunFilter, SendOptions, Sent};
pub use client::{Channel, Client};
pub use error::ClientError;
pub use follow::{EndReason, Follow, ResetReason, Start, ThreadFollow, ThreadStart, ThreadUpdate, Update};
pub use options::{Options, Org};

/// The messages of the API, for answers that have no type of their own.
pub use runmesh_wire::pb;
