//! The store over a real Postgres: one private server for the whole binary, a fresh database for every test.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod accept;
mod alive;
mod aside;
mod branches;
mod cancellation;
mod claim;
mod claim_accepted;
mod clock;
mod context;
mod faults;
mod fixture;
mod gate;
mod growth;
mod growth_claims;
mod growth_lists;
mod journal;
mod lease;
mod newer;
mod nouns;
mod orgs;
mod outbox;
mod pages;
mod random;
mod recovery;
mod schema;
mod server;
mod shapes;
mod walls;
