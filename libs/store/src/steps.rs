//! The journal: steps and tool calls of runs, and what a worker reads back of them. A journaled step is never done again
//! (R4). Nothing here changes a run's state.

mod answer;
mod attempt;
mod context;
mod cut;
mod history;
mod late;
mod load;
mod pages;
mod record;
mod write;

pub(crate) use answer::{cut_content, load_for_answer, referring};
pub(crate) use context::small_contexts;
pub(crate) use late::late_of;
pub(crate) use load::{digest, in_flight, key, reserved, spec};
pub(crate) use write::reserve_closed;

pub use attempt::{CallVerdict, Entry, Recorded};
pub use context::{Context, context};
pub use history::{History, history};
pub use late::{LateResult, keep_late};
pub use load::{journaled_before, load};
pub use record::record;
