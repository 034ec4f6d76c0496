//! The unary calls, one file per service. Each is: make the message, call, convert the answer. Never more.

pub(crate) mod agents;
mod approvals;
mod orgs;
pub(crate) mod page;
pub(crate) mod runs;
mod summary;
mod threads;
mod workers;
