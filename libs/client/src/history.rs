//! What one follower received, written down, and the check that it received everything exactly once. For tests; it trusts nothing that
//! [`crate::Follow`] checked itself.

use crate::follow::Update;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::invariants;

/// The updates of one follower, in order.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: Vec<Entry>,
}

/// One thing that a follower was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The state folded up to an event.
    Snapshot(Box<RunView>),
    /// One event and its number.
    Event(u64, Event),
    /// Everything before is void.
    Reset,
    /// The stream's end.
    End,
}

impl History {
    /// Writes an update down.
    pub fn take(&mut self, update: &Update) {
        match update {
            Update::Snapshot(view) => self.entries.push(Entry::Snapshot(view.clone())),
            Update::Events { events, .. } => {
                self.entries.extend(events.iter().map(|(seq, event)| Entry::Event(*seq, event.clone())));
            }
            Update::Reset(_) => self.entries.push(Entry::Reset),
            Update::End { .. } => self.entries.push(Entry::End),
            Update::Status(_) | Update::Progress | Update::Reconnecting { .. } => {}
        }
    }

    /// Writes one entry down, as a test makes it up.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// What was written down.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The events, in order.
    #[must_use]
    pub fn events(&self) -> Vec<(u64, Event)> {
        let events = self.entries.iter().filter_map(|entry| match entry {
            Entry::Event(seq, event) => Some((*seq, event.clone())),
            Entry::Snapshot(_) | Entry::Reset | Entry::End => None,
        });
        events.collect()
    }

    /// Whether the state so far came in one piece.
    #[must_use]
    pub fn has_snapshot(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Snapshot(_)))
    }

    /// How many times everything was declared void.
    #[must_use]
    pub fn resets(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Reset)).count()
    }

    /// Checks S1, R2 and S2: from `first_seq` on every event once and in order, but for a Reset, which a snapshot must
    /// follow; attempts only rise; nothing after the end of the run or of the stream.
    ///
    /// # Errors
    /// The id of the invariant that is broken and where.
    pub fn check(&self, first_seq: Option<u64>) -> Result<(), String> {
        let mut reader = Reader { wanted: first_seq, voided: false, finished: false, ended: false };
        for entry in &self.entries {
            reader.step(entry)?;
        }
        for stretch in self.entries.split(|entry| matches!(entry, Entry::Reset | Entry::Snapshot(_))) {
            let events: Vec<Event> = stretch.iter().filter_map(Entry::event).cloned().collect();
            invariants::check_log(&events)?;
        }
        Ok(())
    }

    /// Checks S2 and S3 of the words: they are those that the run came to. `from_start` when the first event is the run's first.
    ///
    /// # Errors
    /// The id of the invariant that is broken and where.
    pub fn check_content(&self, from_start: bool) -> Result<(), String> {
        let mut before = (!from_start).then(RunView::default);
        let mut events = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Event(_, event) => events.push(event.clone()),
                Entry::Snapshot(_) | Entry::Reset => {
                    invariants::check_content(before.as_ref(), &std::mem::take(&mut events))?;
                    before = Some(if let Entry::Snapshot(view) = entry { (**view).clone() } else { RunView::default() });
                }
                Entry::End => {}
            }
        }
        invariants::check_content(before.as_ref(), &events)
    }

    /// The fold of what was told since the last snapshot or Reset, without the help of the follower.
    #[must_use]
    pub fn fold(&self) -> RunView {
        let mut view = RunView::default();
        for entry in &self.entries {
            match entry {
                Entry::Snapshot(snapshot) => view = (**snapshot).clone(),
                Entry::Reset => view = RunView::default(),
                Entry::Event(seq, event) => {
                    view.apply(event);
                    view.seq = *seq;
                }
                Entry::End => {}
            }
        }
        view
    }
}

impl Entry {
    const fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(_, event) => Some(event),
            Self::Snapshot(_) | Self::Reset | Self::End => None,
        }
    }
}

/// Reads a history as a client would have to.
struct Reader {
    /// The next event; unknown until the first.
    wanted: Option<u64>,
    /// Between a Reset and its snapshot.
    voided: bool,
    /// After the end of the run, as last told.
    finished: bool,
    /// After the end of the stream.
    ended: bool,
}

impl Reader {
    fn step(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::End if self.ended => Err("R2: two ends of the stream".to_owned()),
            _ if self.ended => Err("R2: something after the end of the stream".to_owned()),
            Entry::End => {
                self.ended = true;
                Ok(())
            }
            Entry::Reset => {
                (self.voided, self.finished) = (true, false);
                Ok(())
            }
            Entry::Snapshot(view) => self.snapshot(view),
            Entry::Event(seq, event) => self.event(*seq, event),
        }
    }

    fn snapshot(&mut self, view: &RunView) -> Result<(), String> {
        if self.finished {
            return Err("R2: a snapshot after the end of the run".to_owned());
        }
        if !self.voided && self.wanted.is_some_and(|wanted| view.seq + 1 != wanted) {
            return Err(format!("S1: a snapshot at {} where event {:?} was due, without a reset", view.seq, self.wanted));
        }
        self.voided = false;
        self.wanted = Some(view.seq + 1);
        self.finished = view.finished.is_some();
        Ok(())
    }

    fn event(&mut self, seq: u64, event: &Event) -> Result<(), String> {
        if self.finished {
            return Err(format!("R2: event {seq} after the end of the run"));
        }
        if self.voided {
            return Err(format!("S1: event {seq} between a reset and its snapshot"));
        }
        match self.wanted {
            Some(wanted) if seq < wanted => return Err(format!("S1: event {seq} again, {wanted} was due")),
            Some(wanted) if seq > wanted => return Err(format!("S1: event {wanted} is missing, {seq} came")),
            Some(_) | None => {}
        }
        self.wanted = Some(seq + 1);
        if matches!(event, Event::RunFinished(_)) {
            self.finished = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Entry {
        Entry::Event(seq, Event::ModelRetrying { step: 1.into(), attempt: 2, reason: "x".into() })
    }

    fn text(seq: u64) -> Entry {
        Entry::Event(seq, Event::TextDelta { step: 1.into(), text: "x".into() })
    }

    fn attempt(seq: u64, fence: u64) -> Entry {
        let at = runmesh_domain::Timestamp::from_micros(0);
        Entry::Event(seq, Event::AttemptStarted { fence, session: None, at })
    }

    fn snapshot(seq: u64) -> Entry {
        Entry::Snapshot(Box::new(RunView { seq, ..RunView::default() }))
    }

    fn check(entries: Vec<Entry>) -> Result<(), String> {
        let history = History { entries };
        history.check(Some(1))?;
        history.check_content(true)
    }

    #[test]
    fn histories_that_keep_the_rules_pass() {
        assert_eq!(check(vec![attempt(1, 1), event(2), attempt(3, 2), event(4), Entry::End]), Ok(()));
        assert_eq!(check(vec![event(1), Entry::Reset, snapshot(7), event(8), Entry::End]), Ok(()));
        assert_eq!(History { entries: vec![event(40), event(41)] }.check(None), Ok(()));
    }

    #[test]
    fn histories_that_break_the_rules_fail() {
        let broken = [
            ("again", vec![event(1), event(1)]),
            ("missing", vec![event(1), event(3)]),
            ("missing", vec![event(2)]),
            ("without a reset", vec![event(1), snapshot(7)]),
            ("between a reset", vec![event(1), Entry::Reset, event(2)]),
            ("after the end", vec![event(1), Entry::End, event(2)]),
            ("two ends", vec![Entry::End, Entry::End]),
            ("attempt 1 began after attempt 1", vec![attempt(1, 1), attempt(2, 1)]),
            ("did not begin", vec![attempt(1, 1), text(2)]),
        ];
        for (want, entries) in broken {
            let problem = check(entries).err();
            assert!(problem.as_ref().is_some_and(|problem| problem.contains(want)), "want {want}, got {problem:?}");
        }
    }

    #[test]
    fn the_fold_is_made_anew() {
        let history = History { entries: vec![text(1), text(2)] };
        assert_eq!((history.fold().text(), history.fold().seq), ("xx".to_owned(), 2));
    }
}
