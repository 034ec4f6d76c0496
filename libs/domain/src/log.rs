//! The rules of the run log: who may append what onto which tail. Pure; the bus reads tails and publishes.
//!
//! *Invariant S2:* nothing of a fenced-off or ended attempt enters the log. Every publish names the tail it was decided
//! for, and the server refuses it when the tail has moved on, so a decision can be stale but never wrong.

mod held;

pub use held::{CallSet, Held, Journal, Missing};

use crate::chain::Chain;
use crate::event::Event;
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
    /// What of the journal the log holds.
    pub held: Held,
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

    /// Whether the log that ends here lost what stood at `position`, or holds something else in its place.
    #[must_use]
    pub const fn is_behind(&self, position: Position) -> bool {
        self.seq < position.seq || (self.seq == position.seq && self.chain.0 != position.chain.0)
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

impl Position {
    /// The one that is further on.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if other.seq > self.seq { other } else { self }
    }
}

/// What Postgres says of a run, of one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known<'a> {
    /// Where the log stood at the last word of a worker.
    pub position: Position,
    /// The journal.
    pub journal: Journal<'a>,
    /// The run's last transitions in order, each with whether it was marked as logged; every one when the journal is whole.
    pub transitions: &'a [(Transition, bool)],
}

/// What brings a log up to its run: the journaled steps that it lacks, then transitions, in one batch or in several.
#[derive(Debug, Clone, PartialEq)]
pub struct CatchUp<'a> {
    /// Begins the log anew, when it lost events that Postgres knows of.
    pub restart: Option<Event>,
    /// Journaled steps whose events come first, in order.
    pub steps: Vec<Missing<'a>>,
    /// Transitions whose events are to be shown, in order.
    pub shown: Vec<&'a Transition>,
    /// The tail's header after all of it, without `stream_seq`, and with `seq`, `chain` and `held` before the new events.
    pub header: Tail,
    transitions: &'a [(Transition, bool)],
}

/// What was given is not enough to bring a log up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lacks {
    /// A hole in the transitions: they were not read whole.
    #[error("transition {wanted} is missing")]
    Transition {
        /// The version that should have come next.
        wanted: u64,
    },
    /// The whole journal and every transition are wanted.
    #[error("the whole journal is wanted")]
    Journal,
}

/// What brings `tail` up to what is known of the run, which must have been read before `tail` was. Nothing when the log is up to date.
///
/// While no attempt is open, the log holds every journaled step: the process that publishes the transition that ends an attempt publishes the
/// steps that are missing before it (S3). A log that is behind `position` lost events: it goes on from `position` with LogRestarted,
/// never from 1, and holds no event of any attempt then. Everything that is journaled follows, and the open question; an attempt that is
/// under way sends what else it said once more. The log of an ended run whose every transition was logged is left alone: Postgres
/// answers for it.
///
/// # Errors
/// [`Lacks`] when more of the run must be read.
pub fn catch_up<'a>(tail: &Tail, known: &Known<'a>) -> Result<Option<CatchUp<'a>>, Lacks> {
    let Known { position, journal, transitions } = *known;
    let Some((last, _)) = transitions.last() else { return Ok(None) };
    let lost = tail.is_behind(position);
    let all_marked = transitions.iter().all(|(_, marked)| *marked);
    if tail.finished || (lost && all_marked && last.to.is_terminal()) {
        return Ok(None);
    }
    let news: Vec<_> = transitions.iter().filter(|(transition, _)| transition.version > tail.version).collect();
    let ends_open = news.last().map_or(tail.open, |(last, _)| opens(last));
    let held = if lost { Held::default() } else { tail.held };
    let missing = if ends_open && !lost { Some(Vec::new()) } else { journal.missing(held) };
    if news.is_empty() && !lost && missing.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    check_whole(tail, &news, lost)?;
    if lost && !journal.is_whole {
        return Err(Lacks::Journal);
    }
    let steps = missing.ok_or(Lacks::Journal)?;
    let is_asked = lost && matches!(last.record, Record::ApprovalRequested { .. });
    let shown = news.iter().filter(|(_, marked)| !(lost && *marked)).map(|(transition, _)| transition);
    let mut shown: Vec<&Transition> = shown.collect();
    if is_asked && shown.last().is_none_or(|shown| shown.version != last.version) {
        shown.push(last);
    }
    let (seq, chain) = if lost { (position.seq, position.chain) } else { (tail.seq, tail.chain) };
    let base = Tail { stream_seq: 0, seq, chain, ..if lost { begun_anew(tail) } else { *tail } };
    let restart = lost.then(|| restarted(&base, transitions, shown.first().copied()));
    let header = header_at(&base, transitions, last.version);
    Ok(Some(CatchUp { restart, steps, shown, header, transitions }))
}

impl CatchUp<'_> {
    /// The header of a log that holds everything of the plan before the transition at `next` in `shown`. What is left is another
    /// batch's.
    #[must_use]
    pub fn header_before(&self, tail: &Tail, next: usize) -> Tail {
        let Some(next) = self.shown.get(next) else { return self.header };
        let Tail { seq, chain, .. } = self.header;
        let base = if self.restart.is_some() { begun_anew(tail) } else { *tail };
        header_at(&Tail { stream_seq: 0, seq, chain, ..base }, self.transitions, next.version - 1)
    }
}

/// Whether the transition begins an attempt.
const fn opens(transition: &Transition) -> bool {
    matches!(transition.record, Record::AttemptStarted)
}

/// What a header keeps of the log before a restart: the transitions say the rest, of which all were read.
fn begun_anew(tail: &Tail) -> Tail {
    Tail { version: 0, number: 0, held: Held::default(), ..*tail }
}

/// The header once the transitions up to `version` are in the log; `base` when none of them is here.
fn header_at(base: &Tail, transitions: &[(Transition, bool)], version: u64) -> Tail {
    let reached =
        transitions.iter().map(|(transition, _)| transition).take_while(|transition| transition.version <= version).last();
    let Some(last) = reached.filter(|last| last.version > base.version) else { return *base };
    let number = if last.fence == base.fence { base.number } else { 0 };
    Tail { fence: last.fence, number, version: last.version, open: opens(last), finished: last.to.is_terminal(), ..*base }
}

/// The event that begins a log anew: what the transitions that are not shown again left.
fn restarted(base: &Tail, transitions: &[(Transition, bool)], first_shown: Option<&Transition>) -> Event {
    let until = first_shown.map_or(u64::MAX, |first| first.version);
    let before = || transitions.iter().map(|(transition, _)| transition).take_while(|transition| transition.version < until);
    let fence = before().filter(|transition| opens(transition)).last().map_or(base.fence, |begun| begun.fence);
    let is_open = before().last().map_or(base.open, opens);
    Event::LogRestarted { reason: RESTARTED.to_owned(), fence, is_open }
}

/// Why viewers see LogRestarted.
const RESTARTED: &str = "the log lost events; the run goes on from its journal";

fn check_whole(tail: &Tail, news: &[&(Transition, bool)], lost: bool) -> Result<(), Lacks> {
    let mut wanted = tail.version + 1;
    for (index, (transition, _)) in news.iter().enumerate() {
        let may_skip = lost && index == 0;
        if transition.version != wanted && !may_skip {
            return Err(Lacks::Transition { wanted });
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

    const fn said<'a>(position: Position, journal: Journal<'a>, transitions: &'a [(Transition, bool)]) -> Known<'a> {
        Known { position, journal, transitions }
    }

    const WHOLE: Journal<'static> = Journal { last_step: 0, steps: &[], is_whole: true };

    fn tail(fence: u64, number: u64, version: u64, open: bool, seq: u64) -> Tail {
        Tail { stream_seq: 9, fence, number, version, open, finished: false, seq, chain: Chain(seq), held: Held::default() }
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
        let plan = catch_up(&Tail::default(), &said(Position::default(), Journal::default(), &rows)).ok().flatten();
        let plan = plan.map(|plan| (plan.restart.is_some(), plan.shown.len(), plan.header));
        let header = Tail { fence: 1, version: 2, open: true, ..Tail::default() };
        assert_eq!(plan, Some((false, 2, header)));
    }

    #[test]
    fn a_lease_lost_closes_and_starts_numbers_anew() {
        let rows = [row(3, 2, Record::Quiet, false)];
        let plan = catch_up(&tail(1, 7, 2, true, 8), &said(Position::default(), Journal::default(), &rows)).ok().flatten();
        let header = plan.map(|plan| plan.header);
        assert_eq!(header, Some(Tail { fence: 2, version: 3, seq: 8, chain: Chain(8), ..Tail::default() }));
    }

    #[test]
    fn up_to_date_needs_nothing_and_holes_are_refused() {
        let rows = [row(3, 2, Record::Quiet, false)];
        assert_eq!(catch_up(&tail(2, 0, 3, false, 8), &said(Position::default(), Journal::default(), &rows)), Ok(None));
        assert_eq!(
            catch_up(&tail(1, 0, 1, true, 8), &said(Position::default(), Journal::default(), &rows)),
            Err(Lacks::Transition { wanted: 2 })
        );
    }

    #[test]
    fn a_log_that_is_begun_anew_holds_nothing_of_the_attempt() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true)];
        let position = Position { seq: 40, chain: Chain(7) };
        let plan = catch_up(&tail(1, 7, 2, true, 8), &said(position, WHOLE, &rows)).ok().flatten();
        let plan = plan.map(|plan| (plan.restart.is_some(), plan.shown.len(), plan.header));
        let header = Tail { fence: 1, number: 0, version: 2, open: true, seq: 40, chain: Chain(7), ..Tail::default() };
        assert_eq!(plan, Some((true, 0, header)));
    }

    #[test]
    fn a_log_that_lost_events_goes_on_from_postgres() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true)];
        let position = Position { seq: 40, chain: Chain(7) };
        let plan = catch_up(&Tail::default(), &said(position, WHOLE, &rows)).ok().flatten();
        let plan = plan.map(|plan| (plan.restart.is_some(), plan.shown.len(), plan.header));
        let header = Tail { fence: 1, version: 2, open: true, seq: 40, chain: Chain(7), ..Tail::default() };
        assert_eq!(plan, Some((true, 0, header)));
    }

    fn steps(indexes: impl IntoIterator<Item = u32>) -> Vec<crate::journal::Step> {
        let step = |step_index| crate::journal::Step {
            path: crate::path::Path::TOP,
            step_index,
            fence: 1,
            result: crate::journal::ModelStep::default(),
            calls: Vec::new(),
            created_at: Timestamp::from_micros(0),
        };
        indexes.into_iter().map(step).collect()
    }

    fn asked(version: u64, marked: bool) -> (Transition, bool) {
        let action = crate::id::ActionId::from_uuid(uuid::Uuid::from_u128(1));
        row(version, 1, Record::ApprovalRequested { action, summary: "?".into() }, marked)
    }

    /// The steps and transitions of a plan, or what it lacks.
    fn plan_of(tail: &Tail, position: Position, journal: Journal<'_>, rows: &[(Transition, bool)]) -> (Vec<u32>, Vec<u64>) {
        let plan = catch_up(tail, &said(position, journal, rows)).unwrap_or_else(|lacks| panic!("{lacks}"));
        let plan = plan.unwrap_or_else(|| panic!("nothing to do"));
        (plan.steps.iter().map(|step| step.key().step_index).collect(), plan.shown.iter().map(|shown| shown.version).collect())
    }

    #[test]
    fn what_ends_an_attempt_comes_after_the_steps_that_the_log_lacks() {
        let rows = [asked(3, false)];
        let held = |step| Tail { held: Held { step, ..Held::default() }, ..tail(1, 7, 2, true, 8) };
        let known = steps(2..=2);
        let journal = Journal { last_step: 2, steps: &known, is_whole: false };
        assert_eq!(plan_of(&held(1), Position::default(), journal, &rows), (vec![2], vec![3]));
        assert_eq!(plan_of(&held(2), Position::default(), journal, &rows), (vec![], vec![3]));
        assert_eq!(catch_up(&held(0), &said(Position::default(), journal, &rows)), Err(Lacks::Journal), "step 1 was not read");
        let begins = [row(3, 2, Record::AttemptStarted, false)];
        let closed = Tail { open: false, ..held(0) };
        assert_eq!(
            plan_of(&closed, Position::default(), journal, &begins),
            (vec![], vec![3]),
            "an attempt settles its steps itself"
        );
    }

    #[test]
    fn a_closed_log_that_lacks_steps_is_not_up_to_date() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true), asked(3, true)];
        let known = steps(1..=2);
        let journal = Journal { last_step: 2, steps: &known, is_whole: true };
        let closed = Tail { held: Held { step: 1, ..Held::default() }, ..tail(1, 7, 3, false, 8) };
        assert_eq!(plan_of(&closed, Position::default(), journal, &rows), (vec![2], vec![]));
    }

    #[test]
    fn a_log_that_is_begun_anew_has_every_step_and_the_question() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true), asked(3, true)];
        let position = Position { seq: 40, chain: Chain(7) };
        let known = steps(1..=2);
        let journal = Journal { last_step: 2, steps: &known, is_whole: true };
        for lost in [Tail::default(), tail(1, 7, 3, false, 8), tail(1, 7, 2, true, 40)] {
            assert_eq!(plan_of(&lost, position, journal, &rows), (vec![1, 2], vec![3]), "{lost:?}");
            let plan = catch_up(&lost, &said(position, journal, &rows)).ok().flatten();
            let Some(plan) = plan else { panic!("nothing to do") };
            assert!(matches!(plan.restart, Some(Event::LogRestarted { fence: 1, is_open: true, .. })), "{plan:?}");
            // Only the steps fit into the first batch: the question is still to come then.
            let first = plan.header_before(&lost, 0);
            assert_eq!((first.version, first.number, first.finished), (2, 0, false), "{lost:?}");
        }
        let part = Journal { is_whole: false, ..journal };
        assert_eq!(catch_up(&Tail::default(), &said(position, part, &rows)), Err(Lacks::Journal));
    }

    #[test]
    fn another_event_at_the_known_place_is_a_loss() {
        let rows = [row(1, 0, Record::Quiet, true), row(2, 1, Record::AttemptStarted, true)];
        let tail = tail(1, 7, 2, true, 8);
        let at = |chain| Position { seq: 8, chain: Chain(chain) };
        assert_eq!(catch_up(&tail, &said(at(8), WHOLE, &rows)), Ok(None));
        assert!(matches!(catch_up(&tail, &said(at(9), WHOLE, &rows)), Ok(Some(CatchUp { restart: Some(_), .. }))));
    }
}
