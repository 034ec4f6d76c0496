//! For tests only: a mesh of real processes over real engines, with what is needed to hurt it and to check it.
//!
//! Failures panic with what a reader needs to understand them: these are tests' hands, not a library for products.
#![expect(clippy::expect_used, reason = "a harness fails its test by panicking")]

pub mod engines;
mod lost_commit;
pub mod mesh;
pub mod otlp;
mod ports;
mod process;
pub mod seen;
pub mod until;

pub use lost_commit::LostCommit;
pub use mesh::{Builder, Mesh, Service};
pub use otlp::Collector;
pub use seen::{Seen, Viewer};
pub use until::until;
