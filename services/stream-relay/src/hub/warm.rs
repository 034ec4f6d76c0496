//! What a relay has at hand of a watched run: the tail, the last batches, and the fold of everything before them. Pure.

use crate::limits;
use crate::shown::Shown;
use runmesh_domain::chain::Chain;
use runmesh_domain::fold::RunView;
use runmesh_domain::log::Tail;
use std::collections::VecDeque;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub struct Warm {
    /// Absent until the log was read.
    tail: Option<Tail>,
    /// The last batches that hold events; each joins the one before, and the last ends at the tail.
    ring: VecDeque<Arc<Shown>>,
    bytes: usize,
    /// True once the ring was full and dropped its oldest batches: there is no room for older ones.
    has_dropped: bool,
    /// The fold of everything up to a place within the ring or where it begins, once somebody wanted it.
    fold: Option<Arc<RunView>>,
}

/// What is at hand after a place in the log.
#[derive(Debug)]
pub enum Since {
    /// These batches, at least one.
    Batches(Vec<Arc<Shown>>),
    /// Nothing: the place is the tail.
    UpToDate,
    /// The place is beyond the tail.
    Ahead,
    /// The place is before what is at hand: read the log.
    Older,
    /// The log holds something else at that place.
    Forked,
    /// The log was not read yet.
    Unknown,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It follows on the tail and is the tail now.
    Yes,
    /// It was known.
    Known,
    /// It does not follow on the tail.
    Gap,
}

/// A view, or what is wanted to make one.
#[derive(Debug)]
pub enum View {
    /// The view, with the batches that are to be folded into it.
    Whole(Arc<RunView>, Vec<Arc<Shown>>),
    /// The log must be folded up to event `seq` first; the log is known to reach stream sequence `up_to`.
    Cold { seq: u64, up_to: u64 },
    /// The log was not read yet.
    Unknown,
}

impl Warm {
    /// The tail, once the log was read.
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Begins anew at the last batch of the log, or with an empty log.
    pub fn begin(&mut self, last: Option<Shown>) {
        *self = Self { tail: Some(last.as_ref().map_or_else(Tail::default, |last| last.tail)), ..Self::default() };
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            self.put(Arc::new(last));
        }
    }

    /// Takes the next batch.
    pub fn take(&mut self, shown: Shown) -> Taken {
        let Some(tail) = self.tail else { return Taken::Gap };
        // A stream that was lost and made again counts from 1: its sequences say nothing about batches with events.
        let is_later = shown.tail.stream_seq > tail.stream_seq;
        if !shown.joins(tail.seq, tail.chain) {
            return if is_later || shown.tail.seq > tail.seq { Taken::Gap } else { Taken::Known };
        }
        if shown.is_empty() && !is_later {
            return Taken::Known;
        }
        self.tail = Some(shown.tail);
        if !shown.is_empty() {
            self.put(Arc::new(shown));
        }
        Taken::Yes
    }

    fn put(&mut self, shown: Arc<Shown>) {
        if self.ring.is_empty() && self.fold.is_none() && shown.joins(0, Chain::START) {
            self.fold = Some(Arc::default());
        }
        self.bytes += shown.bytes;
        self.ring.push_back(shown);
        while self.ring.len() > limits::RING_BATCHES || (self.bytes > limits::RING_BYTES && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.has_dropped = true;
            if let Some(fold) = self.fold.as_mut().filter(|fold| oldest.joins(fold.seq, fold.chain)) {
                oldest.fold_into(Arc::make_mut(fold));
            }
        }
    }

    /// Where the ring begins: what it lacks comes before that. None until the log was read, and when it has no room for more.
    pub fn begins(&self) -> Option<(u64, Chain)> {
        let tail = self.tail.filter(|_| !self.has_dropped)?;
        Some(self.ring.front().map_or((tail.seq, tail.chain), |first| (first.first_seq - 1, first.chain_before)))
    }

    /// Puts what comes before the ring in front of it. False when it does not join, or there is no room for all of it.
    pub fn put_before(&mut self, batches: Vec<Arc<Shown>>) -> bool {
        let begins = self.begins();
        // The ring may have lost its oldest batches meanwhile, but it never gained older ones.
        let batches: Vec<_> = batches.into_iter().filter(|batch| !batch.is_empty()).collect();
        let joins = begins.is_some() && batches.last().map(|last| (last.tail.seq, last.tail.chain)) == begins;
        let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
        let has_room = self.ring.len() + batches.len() <= limits::RING_BATCHES && self.bytes + bytes <= limits::RING_BYTES;
        if joins && has_room {
            self.bytes += bytes;
            batches.into_iter().rev().for_each(|batch| self.ring.push_front(batch));
            if self.fold.is_none() && self.ring.front().is_some_and(|first| first.joins(0, Chain::START)) {
                self.fold = Some(Arc::default());
            }
        }
        joins && has_room
    }

    /// What is at hand after `seq`, where the rolling hash was `chain`.
    pub fn since(&self, seq: u64, chain: Chain) -> Since {
        let Some(tail) = self.tail else { return Since::Unknown };
        if seq > tail.seq {
            return Since::Ahead;
        }
        if seq == tail.seq {
            return if chain == tail.chain { Since::UpToDate } else { Since::Forked };
        }
        let Some(first) = self.ring.front() else { return Since::Older };
        if first.first_seq > seq + 1 {
            return Since::Older;
        }
        let from = self.ring.partition_point(|batch| batch.first_seq <= seq);
        match self.ring.get(from) {
            Some(next) if next.joins(seq, chain) => Since::Batches(self.ring.iter().skip(from).cloned().collect()),
            Some(_) | None => Since::Forked,
        }
    }

    /// The view at the tail.
    pub fn view(&self) -> View {
        let Some(tail) = self.tail else { return View::Unknown };
        match (&self.fold, self.ring.front()) {
            (Some(fold), _) => {
                let from = self.ring.partition_point(|batch| batch.first_seq <= fold.seq);
                View::Whole(Arc::clone(fold), self.ring.iter().skip(from).cloned().collect())
            }
            (None, None) if tail.seq == 0 => View::Whole(Arc::default(), Vec::new()),
            (None, None) => View::Cold { seq: tail.seq, up_to: tail.stream_seq },
            (None, Some(first)) => View::Cold { seq: first.first_seq - 1, up_to: tail.stream_seq },
        }
    }

    /// Keeps a fold when it ends where the ring begins or within the ring. False when the ring has moved on.
    pub fn keep(&mut self, fold: &RunView) -> bool {
        let is_tail = self.tail.is_some_and(|tail| (tail.seq, tail.chain) == (fold.seq, fold.chain));
        let fits = is_tail || self.ring.iter().any(|batch| batch.joins(fold.seq, fold.chain));
        if fits {
            self.fold = Some(Arc::new(fold.clone()));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use runmesh_bus::{Batch, RunKey};
    use runmesh_domain::id::{OrgId, RunId, ThreadId};
    use runmesh_wire::pb::stream::run_event::Kind;
    use runmesh_wire::pb::stream::{RunEvent, TextDelta};

    /// Batch `n` holds event `n`; its chain is its number.
    fn batch(n: u64) -> Shown {
        batch_at(n, n * 10)
    }

    fn batch_at(n: u64, stream_seq: u64) -> Shown {
        let tail = Tail { stream_seq, seq: n, chain: Chain(n), ..Tail::default() };
        let kind = Some(Kind::TextDelta(TextDelta { step_index: 1, text: format!("{n},"), path: String::new() }));
        let (id, events) = (Default::default(), vec![RunEvent { kind }.encode_to_vec().into()]);
        let key = RunKey { org: OrgId::from_uuid(id), thread: ThreadId::from_uuid(id), run: RunId::from_uuid(id) };
        Shown::of(key, &Batch { run: key.run, tail, first_seq: n, chain_before: Chain(n - 1), events })
    }

    fn numbers(since: &Since) -> Vec<u64> {
        match since {
            Since::Batches(batches) => batches.iter().map(|batch| batch.first_seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn text(warm: &Warm) -> String {
        let View::Whole(view, batches) = warm.view() else { panic!("{:?}", warm.view()) };
        let mut view = Arc::unwrap_or_clone(view);
        batches.iter().for_each(|batch| batch.fold_into(&mut view));
        view.text()
    }

    #[test]
    fn gives_what_follows_a_place_and_tells_the_others_apart() {
        let mut warm = Warm::default();
        assert!(matches!(warm.since(0, Chain(0)), Since::Unknown));
        warm.begin(Some(batch(5)));
        assert_eq!((warm.take(batch(6)), warm.take(batch(6)), warm.take(batch(9))), (Taken::Yes, Taken::Known, Taken::Gap));
        assert_eq!(numbers(&warm.since(4, Chain(4))), [5, 6]);
        assert_eq!(numbers(&warm.since(5, Chain(5))), [6]);
        assert!(matches!(warm.since(5, Chain(99)), Since::Forked));
        assert!(matches!(warm.since(6, Chain(6)), Since::UpToDate));
        assert!(matches!(warm.since(6, Chain(99)), Since::Forked));
        assert!(matches!(warm.since(7, Chain(7)), Since::Ahead));
        assert!(matches!(warm.since(3, Chain(3)), Since::Older));
    }

    #[test]
    fn a_stream_that_was_made_again_is_noticed() {
        let anew = |n: u64| batch_at(n, n);
        let mut warm = Warm::default();
        warm.begin(Some(batch(5)));
        assert_eq!((warm.take(anew(7)), warm.take(anew(6)), warm.take(anew(4))), (Taken::Gap, Taken::Yes, Taken::Known));
        assert_eq!(numbers(&warm.since(4, Chain(4))), [5, 6]);
    }

    #[test]
    fn stays_bounded_and_keeps_the_view_whole() {
        let mut warm = Warm::default();
        warm.begin(None);
        let total = limits::RING_BATCHES as u64 * 3;
        for n in 1..=total {
            assert_eq!(warm.take(batch(n)), Taken::Yes);
        }
        assert_eq!(warm.ring.len(), limits::RING_BATCHES);
        let wanted: String = (1..=total).map(|n| format!("{n},")).collect();
        assert_eq!(text(&warm), wanted);
    }

    #[test]
    fn what_comes_before_the_ring_is_put_in_front_of_it_and_folded_once() {
        let mut warm = Warm::default();
        let batches = |from: u64, to: u64| (from..=to).map(|n| Arc::new(batch(n))).collect::<Vec<_>>();
        warm.begin(Some(batch(5)));
        let mut fold = RunView::default();
        (1..=4).for_each(|n| batch(n).fold_into(&mut fold));
        assert!(warm.keep(&fold));
        assert!(!warm.put_before(batches(2, 3)), "a hole");
        assert!(!warm.put_before(batches(2, 5)), "more than is missing");
        assert!(warm.put_before(batches(2, 4)));
        assert_eq!(numbers(&warm.since(1, Chain(1))), [2, 3, 4, 5]);
        assert_eq!(text(&warm), "1,2,3,4,5,");
        for n in 6..=limits::RING_BATCHES as u64 + 10 {
            assert_eq!(warm.take(batch(n)), Taken::Yes);
        }
        let wanted: String = (1..=limits::RING_BATCHES as u64 + 10).map(|n| format!("{n},")).collect();
        assert_eq!(text(&warm), wanted);
        assert_eq!(warm.begins(), None, "no room, and so nothing is read for it");
        assert!(!warm.put_before(batches(1, 10)), "no room");
    }

    #[test]
    fn a_cold_start_wants_the_log_folded_up_to_the_ring() {
        let mut warm = Warm::default();
        warm.begin(Some(batch(3)));
        assert!(matches!(warm.view(), View::Cold { seq: 2, up_to: 30 }));
        let mut fold = RunView::default();
        batch(1).fold_into(&mut fold);
        assert!(!warm.keep(&fold));
        batch(2).fold_into(&mut fold);
        assert!(warm.keep(&fold));
        assert_eq!(text(&warm), "1,2,3,");
    }
}
