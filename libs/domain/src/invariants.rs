//! The invariants by their ids, and checks of them that tests share.

mod content;

pub use content::check_content;

use crate::event::Event;
use crate::transition::Transition;

/// An invariant of runmesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// Its id, which models, tests and comments name.
    pub id: &'static str,
    /// What always holds.
    pub holds: &'static str,
}

/// Every invariant that this version keeps.
pub const ALL: &[Invariant] = &[
    Invariant { id: "R1", holds: "a fence never decreases, and no write under another fence than the run's is accepted" },
    Invariant { id: "R2", holds: "an accepted run reaches exactly one terminal state, and nothing follows it" },
    Invariant {
        id: "R3",
        holds: "at most one turn of a thread is READY, RUNNING or WAITING, and turns start in the order accepted",
    },
    Invariant { id: "R4", holds: "a journaled step is never executed again, nor an unsafe call without a person's word" },
    Invariant { id: "R5", holds: "one idempotency key and body is one run and one answer" },
    Invariant { id: "S1", holds: "a client that follows cursors sees every event once and in order, or an explicit Reset" },
    Invariant { id: "S2", holds: "no event is shown that is not in the log, and nothing of a lost attempt enters the log" },
    Invariant { id: "S3", holds: "at every transition that ends an attempt the fold of the log equals the journal" },
    Invariant { id: "T1", holds: "nothing of one org reads or changes anything of another" },
];

/// Checks R1 and R2 over the transitions of one run, in the order of version.
///
/// # Errors
/// The id of the invariant that is broken and where.
pub fn check_transitions(transitions: &[Transition]) -> Result<(), String> {
    for (index, transition) in transitions.iter().enumerate() {
        if transition.version != index as u64 + 1 {
            return Err(format!("R2: version {} stands at place {}", transition.version, index + 1));
        }
    }
    for pair in transitions.windows(2) {
        let [before, after] = pair else { continue };
        if after.fence < before.fence {
            return Err(format!("R1: fence went from {} to {}", before.fence, after.fence));
        }
        if before.to.is_terminal() {
            return Err(format!("R2: {} follows {}", after.to, before.to));
        }
        if after.from != Some(before.to) {
            return Err(format!("R2: {:?} follows {}", after.from, before.to));
        }
    }
    Ok(())
}

/// Checks S2 over the whole log of one run: attempts only rise, and nothing follows the end.
///
/// # Errors
/// The id of the invariant that is broken and where.
pub fn check_log(events: &[Event]) -> Result<(), String> {
    let mut fence = 0;
    for (index, event) in events.iter().enumerate() {
        if let Event::AttemptStarted { fence: next, .. } = event {
            if *next <= fence {
                return Err(format!("S2: attempt {next} began after attempt {fence}"));
            }
            fence = *next;
        }
        if matches!(event, Event::RunFinished(_)) && index + 1 != events.len() {
            return Err(format!("R2: {} events follow RunFinished", events.len() - index - 1));
        }
    }
    Ok(())
}

/// Checks R3 over the RUNNING intervals `(turn number, from, to)` of one thread.
///
/// # Errors
/// The id of the invariant that is broken and where.
pub fn check_turns(intervals: &[(u64, crate::Timestamp, crate::Timestamp)]) -> Result<(), String> {
    let mut sorted = intervals.to_vec();
    sorted.sort_by_key(|(_, from, _)| *from);
    for pair in sorted.windows(2) {
        let [(before, _, end), (after, start, _)] = pair else { continue };
        if before > after {
            return Err(format!("R3: turn {before} started before turn {after}"));
        }
        if start < end {
            return Err(format!("R3: turns {before} and {after} overlap"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn histories_that_must_fail_fail() {
        let started = |fence| Event::AttemptStarted { fence, session: None, at: Timestamp::from_micros(0) };
        assert!(check_log(&[started(1), started(3)]).is_ok());
        assert!(check_log(&[started(2), started(2)]).is_err());
        let at = Timestamp::from_micros;
        assert!(check_turns(&[(1, at(0), at(5)), (2, at(5), at(9))]).is_ok());
        assert!(check_turns(&[(1, at(0), at(5)), (2, at(4), at(9))]).is_err());
        assert!(check_turns(&[(2, at(0), at(1)), (1, at(2), at(3))]).is_err());
    }
}
