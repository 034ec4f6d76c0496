//! Runs: accepting, claiming, ending, and looking at them.
//!
//! Each file is one thing that happens to a run. All of them ask `Run::decide` what to do and hand its answer to
//! [`transition`], the only way a row of `runs` changes its state.

mod accept;
mod aside;
mod blocked;
mod cancel;
mod capable;
mod claim;
mod committed;
mod cut;
mod ending;
mod finish;
mod list;
mod lock;
mod look;
mod moves;
mod pick;
mod reap;
mod recover;
mod release;
mod repair;
mod round;
mod row;
mod send;
mod share;
mod sweep;
mod transition;
mod turns;
mod view;

pub(crate) use aside::sweep_one;
pub(crate) use list::read;
pub(crate) use lock::lock_unless_busy;
pub(crate) use row::{Row, run_columns};

pub use accept::{Accepted, At, LockedThread, NewTurn, accept, lock_thread};
pub use aside::{SetAside, count_aside, count_dead_rows, set_aside};
pub use blocked::{blocked_by, see_blocked};
pub use cancel::cancel;
pub use claim::{ClaimFor, Claimed, Claims, Left, SessionRoom, claim, claim_accepted};
pub use committed::{Committed, LogRows};
pub use cut::cut;

pub use finish::{Ending, LastStep, finish};
pub use list::{ListRuns, get, history, list, queue};
pub use lock::{Locked, lock};
pub use reap::{Reaped, note_aside, reap, reap_hung, reap_orphans};
pub use release::release;
pub use round::ClaimRound;
pub use row::{BlockedBy, JournalSize, RunRow};
pub use send::{NewMessage, OnBusy, send};
pub use sweep::{FreeThreadsFrom, UnservedFrom, fail_unserved, promote_free_threads};
pub use transition::{TransitionExtra, transition};
pub use turns::{NewestTurn, current_turn, newest_turns, next_turn};
pub use view::{RunState, Standing, log_rows, seen_by, standings, state_of};
