//! The rules of the run log: who may append what onto which tail. Pure; the bus reads tails and publishes.
//!
//! *Invariant S2:* nothing of a fenced-off or ended attempt enters the log. Every publish names the tail it was decided
//! for, and the server refuses it when the tail has moved on, so a decision can be stale but never wrong.

use crate::chain::Chain;
use crate::transition::{Record, Transition};

/// What the last message of a run's log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// The stream's sequence of that message; 0 when the log is empty.
    pub stream_seq: u64,
    /// The attempt that the log is at.
    pub fence: u64,
    /// How many events of that attempt it holds.
    pub number: u64,
    /// The run's last transition that it holds.
    pub version: u64,
    /// True from a claim until the transition that ends the attempt.
    pub open: bool,
    /// True once the run's end is in it.
    pub finished: bool,
    /// The last event.
    pub seq: u64,
    /// The rolling hash there.
    pub chain: Chain,
}

/// Whether an attempt may append onto a tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayAppend {
    /// It may, from event `number + 1` of the attempt on.
    Yes,
    /// Its claim is not in the log yet: catch up, then look again.
    Behind,
    /// Never again: a later attempt began.
    Fenced,
    /// Never again: the attempt's end is in the log.
    Ended,
}

impl Tail {
    /// Whether attempt `fence` may append here.
    #[must_use]
    pub const fn may_append(&self, fence: u64) -> MayAppend {
        if self.fence > fence {
            MayAppend::Fenced
        } else if self.fence < fence {
            if self.finished { MayAppend::Ended } else { MayAppend::Behind }
        } else if self.open {
            MayAppend::Yes
        } else {
            MayAppend::Ended
        }
    }
}

/// Where the run's row says that the log was when a worker last wrote to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last event.
    pub seq: u64,
    /// The rolling hash there.
    pub chain: Chain,
}

/// What brings a log up to its run.
#[derive(Debug, Clone, PartialEq)]
pub struct CatchUp<'a> {
    /// True when the log lost events that Postgres knows of: begin with LogRestarted.
    pub restart: bool,
    /// Transitions whose events are to be shown, in order.
    pub shown: Vec<&'a Transition>,
    /// The tail's header after it, without `stream_seq`, and with `seq` and `chain` before the new events.
    pub header: Tail,
}

/// A hole in the transitions: they were not read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transition {wanted} is missing")]
pub struct Hole {
    /// The version that should have come next.
    pub wanted: u64,
}

/// What brings `tail` up to `transitions`, the run's last ones in order; each with whether it was marked as logged.
/// Nothing when the log is up to date. `position` must have been read before `tail` was.
///
/// A log that holds less than `position` lost events: it goes on from `position` with LogRestarted, never from 1, and holds
/// no event of any attempt then: an attempt that is under way tells its state anew. The log
/// of an ended run whose every transition was logged is left alone: Postgres answers for it.
///
/// # Errors
/// [`Hole`] when `transitions` does not begin at the tail's next version.
pub fn catch_up<'a>(tail: &Tail, position: Position, transitions: &'a [(Transition, bool)]) -> Result<Option<CatchUp<'a>>, Hole> {
    let news: Vec<_> = transitions.iter().filter(|(transition, _)| transition.version > tail.version).collect();
    let Some((last, _)) = transitions.last() else { return Ok(None) };
    let lost = tail.seq < position.seq;
    let all_marked = transitions.iter().all(|(_, marked)| *marked);
    if tail.finished || (lost && all_marked && last.to.is_terminal()) || (news.is_empty() && !lost) {
        return Ok(None);
    }
    check_whole(tail, &news, lost)?;
    let shown = news.iter().filter(|(_, marked)| !(lost && *marked)).map(|(transition, _)| transition).collect();
    let seen = if news.is_empty() { tail.version } else { last.version };
    let ends_here = if news.is_empty() { tail.finished } else { last.to.is_terminal() };
    let open = if news.is_empty() { tail.open } else { matches!(last.record, Record::AttemptStarted) };
    let fence = if news.is_empty() { tail.fence } else { last.fence };
    let (seq, chain) = if lost { (position.seq, position.chain) } else { (tail.seq, tail.chain) };
    let number = if fence == tail.fence && !lost { tail.number } else { 0 };
    let header = Tail { stream_seq: 0, fence, number, version: seen, open, finished: ends_here, seq, chain };
    Ok(Some(CatchUp { restart: lost, shown, header }))
}

fn check_whole(tail: &Tail, news: &[&(Transition, bool)], lost: bool) -> Result<(), Hole> {
    let mut wanted = tail.version + 1;
    for (index, (transition, _)) in news.iter().enumerate() {
        let may_skip = lost && index == 0;
        if transition.version != wanted && !may_skip {
            return Err(Hole { wanted });
        }
        wanted = transition.version + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::id::RunId;
    use crate::run::StateName;
    use crate::transition::Cause;

    fn row(version: u64, fence: u64, record: Record, marked: bool) -> (Transition, bool) {
        let to = if matches!(record, Record::AttemptStarted) { StateName::Running } else { StateName::Ready };
        let transition = Transition {
            run: RunId::from_uuid(uuid::Uuid::from_u128(1)),
            version,
            from: None,
            to,
            cause: Cause::Accepted,
            fence,
            session: None,
            actor: crate::actor::Actor::System,
            at: Timestamp::from_micros(0),
            record,
        };
        (transition, marked)
    }

    fn tail(fence: u64, number: u64, version: u64, open: bool, seq: u64) -> Tail {
        Tail { stream_seq: 9, fence, number, version, open, finished: false, seq, chain: Chain(seq) }
    }

    #[test]
    fn only_the_open_attempt_appends() {
        assert_eq!(Tail::default().may_append(1), MayAppend::Behind);
        assert_eq!(tail(1, 0, 2, true, 1).may_append(1), MayAppend::Yes);
        assert_eq!(tail(1, 0, 3, false, 1).may_append(1), MayAppend::Ended);
        assert_eq!(tail(2, 0, 3, false, 1).may_append(1), MayAppend::Fenced);
        assert_eq!(tail(1, 0, 3, false, 1).may_append(3), MayAppend::Behind);
    }

    #[test]
    fn waiting_transitions_go_in_one_batch_that_opens_the_attempt() {
        let rows = [row(1, 0, Record::Quiet, false), row(2, 1, Record::AttemptStarted, false)];
        let plan = catch_up(&Tail::default(), Position::default(), &rows).ok().flatten();
        let plan = plan.map(|plan| (plan.restart, plan.shown.len(), plan.header));
        let header = Tail { fence: 1, version: 2, open: true, ..Tail::default() };
        assert_eq!(plan, Some((false, 2, header)));
    }

    #[test]
    fn a_lease_lost_closes_and_starts_numbers_anew() {
        let rows = [row(3, 2, Record::Quiet, false)];
        let plan = catch_up(&tail(1, 7, 2, true, 8), Position::default(), &rows).ok().flatten();
        let header = plan.map(|plan| plan.header);
        assert_eq!(
            header,
            Some(Tail { stream_seq: 0, fence: 2, number: 0, version: 3, open: false, finished: false, seq: 8, chain: Chain(8) })
        );
    }

    #[test]
    fn up_to_date_needs_nothing_and_holes_are_refused() {
        let rows = [row(3, 2, Record::Quiet, false)];
        assert_eq!(catch_up(&tail(2, 0, 3, false, 8), Position::default(), &rows), Ok(None));
        assert_eq!(catch_up(&tail(1, 0, 1, true, 8), Position::default(), &rows), Err(Hole { wanted: 2 }));
    }

    #[test]
    fn a_log_that_is_begun_anew_holds_nothing_of_the_attempt() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true)];
        let position = Position { seq: 40, chain: Chain(7) };
        let plan = catch_up(&tail(1, 7, 2, true, 8), position, &rows).ok().flatten();
        let plan = plan.map(|plan| (plan.restart, plan.shown.len(), plan.header));
        let header = Tail { fence: 1, number: 0, version: 2, open: true, seq: 40, chain: Chain(7), ..Tail::default() };
        assert_eq!(plan, Some((true, 0, header)));
    }

    #[test]
    fn a_log_that_lost_events_goes_on_from_postgres() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true)];
        let position = Position { seq: 40, chain: Chain(7) };
        let plan = catch_up(&Tail::default(), position, &rows).ok().flatten();
        let plan = plan.map(|plan| (plan.restart, plan.shown.len(), plan.header));
        let header = Tail { fence: 1, version: 2, open: true, seq: 40, chain: Chain(7), ..Tail::default() };
        assert_eq!(plan, Some((true, 0, header)));
    }
}
