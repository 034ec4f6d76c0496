//! What services that change something share: commands that are repeated safely, checks of who may call them, and everything
//! that follows a commit.
//!
//! Data goes one way. A service decodes a request into a [`Command`]; [`Commands`] runs it in one transaction; its answer
//! carries [`AfterCommit`], the effects, as a value; the [`Publisher`] has them once the transaction has committed.
//!
//! *Invariant:* nothing is published inside a transaction. *Invariant R5:* see [`Idempotent`]. Knows no service, no listener
//! and no loop: the services that use it decide what runs when.

mod commands;
mod effects;
mod idempotent;
mod marks;
mod members;
mod publisher;
mod work_signal;

pub use commands::{Commands, read};
pub use effects::{AfterCommit, Done};
pub use idempotent::{By, Idempotent, Mutation, Replayable};
pub use members::{AdminOnly, MemberOnly, require_admin, require_member};
pub use publisher::{OWN_TIME, Publisher};
pub use runmesh_store::Command;
pub use runmesh_wire::caller::{Caller, Person};
pub use work_signal::WorkSignal;
