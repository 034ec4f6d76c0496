//! The whole mesh under test: real processes over real engines, spoken to as users speak to it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod alive;
mod cancels;
mod clustered;
mod deploy;
mod dev;
mod examples;
mod fail_points;
mod feed;
mod frozen;
mod grpcurl;
mod harness;
mod hops;
mod house_rules;
mod idempotency;
mod identity;
mod isolation;
mod large;
mod missed_by_the_log;
mod models;
mod orgs;
mod queue;
mod recovery;
mod refuses;
mod rpc;
mod session;
mod sessions;
mod side_by_side;
mod sql;
mod survives;
mod talks;
mod threads;
mod tools;
mod traces;
mod unknown;
mod versions;
