//! Everything NATS: subjects and streams declared as data, the run log, the transition feed, wake-ups and hints.
//!
//! *Invariant:* this is the only crate that names async-nats. Every queue is bounded and every wait has a deadline. It
//! never reads Postgres and never decides about a run: the rules are `runmesh_domain::log`, and every publish to the run
//! log names the tail that it was decided for.

mod api;
mod bus;
mod choices;
mod config;
mod connection;
mod consume;
mod ensure;
mod fault;
mod feed;
mod heal;
mod hint;
mod key;
mod limits;
mod live;
mod log;
mod publish;
mod report;
mod settings;
mod streams;
mod subjects;
mod thread_hint;
mod wake;

pub use bus::Bus;
pub use choices::{Age, Placement, Replicas, Size, StreamChoices, shown_age, shown_bytes};
pub use config::BusConfig;
pub use consume::{Consumer, Fed, FeedEvent};
pub use feed::Feed;
pub use hint::{CancelHint, CancelHints};
pub use key::RunKey;
pub use live::Live;
pub use log::{Batch, CaughtUp, Log, Replay, fitted};
pub use publish::PublishOutcome;
pub use report::StreamReport;
pub use streams::{STREAMS, StreamSpec};
pub use thread_hint::{MemberHints, ThreadHints};
pub use wake::Wakes;
