//! Bringing a log up to its run. Anybody may try, any number at once, for ever: the tail decides, and only one publish
//! onto it succeeds.

use super::{Batch, Log, fit};
use crate::fault::unavailable;
use crate::key::RunKey;
use crate::limits;
use crate::publish::PublishOutcome;
use bytes::Bytes;
use runmesh_domain::Result;
use runmesh_domain::event::Event;
use runmesh_domain::event::fit::pieces;
use runmesh_domain::limits::BATCH_BYTES_MAX;
use runmesh_domain::log::{self, CatchUp, Held, Known, Lacks, Missing, Tail};
use runmesh_wire::convert::event::of_transition;
use tokio::time::{sleep, timeout};

/// What came of bringing a log up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaughtUp {
    /// The log holds every given transition, or needs none of them.
    Yes(Tail),
    /// More of the run must be read; then try again.
    Lacks(Lacks),
}

impl Log {
    /// Brings the log up to what is known of its run, which was read before the call. For a run that begins here the empty log is
    /// not read first: the server checks that belief.
    ///
    /// # Errors
    /// `Unavailable` when NATS is away, when the log stays contended, or when it lacks more than is known; the transitions stay
    /// unmarked and somebody tries again.
    pub async fn catch_up(&self, key: impl Into<RunKey>, known: &Known<'_>) -> Result<Tail> {
        let is_new = known.position.seq == 0 && known.transitions.first().is_some_and(|(first, _)| first.version == 1);
        match self.try_catch_up(key.into(), known, is_new.then(Tail::default)).await? {
            CaughtUp::Yes(tail) => Ok(tail),
            CaughtUp::Lacks(lacks) => Err(unavailable(format!("the log waits: {lacks}"))),
        }
    }

    /// As [`Log::catch_up`], but says what more is to be read, and begins with a tail that the caller believes in: that saves a
    /// read, and guards nothing.
    ///
    /// # Errors
    /// `Unavailable` when NATS is away or the log stays contended.
    pub async fn try_catch_up(&self, key: RunKey, known: &Known<'_>, tail: Option<Tail>) -> Result<CaughtUp> {
        let tries = self.catch_up_by_tries(key, known, tail);
        timeout(limits::CATCH_UP, tries).await.map_err(|_| unavailable("bringing a log up took too long"))?
    }

    async fn catch_up_by_tries(&self, key: RunKey, known: &Known<'_>, mut believed: Option<Tail>) -> Result<CaughtUp> {
        for _ in 0..limits::CATCH_UP_TRIES {
            let (tail, is_read) = match believed.take() {
                Some(tail) => (tail, false),
                None => (self.tail(key).await?, true),
            };
            let plan = match log::catch_up(&tail, known) {
                Ok(plan) => plan,
                Err(lacks) if is_read => return Ok(CaughtUp::Lacks(lacks)),
                Err(_) => continue,
            };
            let Some(plan) = plan else {
                // "Nothing to do" is said of the log itself, never of a belief.
                if is_read {
                    return Ok(CaughtUp::Yes(tail));
                }
                continue;
            };
            match self.append(key, &tail, &plan).await? {
                Appended::All(tail) => return Ok(CaughtUp::Yes(tail)),
                Appended::Part(tail) => believed = Some(tail),
                Appended::Not => sleep(limits::CATCH_UP_PAUSE).await,
            }
        }
        Err(unavailable("the log stays contended"))
    }

    async fn append(&self, key: RunKey, tail: &Tail, plan: &CatchUp<'_>) -> Result<Appended> {
        let (batch, is_all) = batch_of(key, tail, plan);
        let id = message_id(&batch, plan.restart.is_some());
        match self.publish_as(key, &batch, tail.stream_seq, Some(&id)).await? {
            PublishOutcome::Stored { stream_seq } => {
                let tail = Tail { stream_seq, ..batch.tail };
                Ok(if is_all { Appended::All(tail) } else { Appended::Part(tail) })
            }
            PublishOutcome::Conflict | PublishOutcome::Unknown => Ok(Appended::Not),
        }
    }
}

enum Appended {
    All(Tail),
    Part(Tail),
    Not,
}

/// The batch of a plan, or of as much of it as a batch may hold; and whether that is all of it.
fn batch_of(key: RunKey, tail: &Tail, plan: &CatchUp<'_>) -> (Batch, bool) {
    let mut batch = Filling { events: Vec::new(), bytes: 0, held: plan.header.held };
    let _ = plan.restart.iter().all(|restarted| batch.take(vec![restarted.clone()]));
    // Each by itself: what a step's calls gave may be more than a batch.
    for event in plan.steps.iter().flat_map(Missing::events).flat_map(pieces) {
        if !batch.take(vec![event]) {
            return (batch.after(key, plan.header_before(tail, 0)), false);
        }
    }
    for (index, transition) in plan.shown.iter().enumerate() {
        if !batch.take(of_transition(transition)) {
            return (batch.after(key, plan.header_before(tail, index)), false);
        }
    }
    (batch.after(key, plan.header), true)
}

/// A batch while it is filled.
struct Filling {
    events: Vec<Bytes>,
    bytes: usize,
    held: Held,
}

impl Filling {
    /// Takes events that belong together, unless the batch is too full for them. An empty batch takes anything.
    fn take(&mut self, events: Vec<Event>) -> bool {
        let held = events.iter().fold(self.held, |held, event| held.after(event));
        let events: Vec<Bytes> = events.into_iter().map(|event| Bytes::from(fit::encode(event))).collect();
        let bytes: usize = events.iter().map(Bytes::len).sum();
        if bytes > 0 && !self.events.is_empty() && self.bytes + bytes > BATCH_BYTES_MAX {
            return false;
        }
        self.held = held;
        self.bytes += bytes;
        self.events.extend(events);
        true
    }

    fn after(self, key: RunKey, header: Tail) -> Batch {
        Batch::after(key.run, Tail { held: self.held, ..header }, self.events)
    }
}

/// The same for everybody who appends the same, so that the server may save a message. A restart of the log repeats
/// versions that it may remember, and says where it goes on from.
fn message_id(batch: &Batch, is_restart: bool) -> String {
    let (run, version) = (batch.run, batch.tail.version);
    if is_restart { format!("{run}-v{version}-r{}", batch.first_seq) } else { format!("{run}-v{version}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;
    use runmesh_domain::id::{ActionId, MessageId, OrgId, RunId, ThreadId};
    use runmesh_domain::journal::Usage;
    use runmesh_domain::limits::{EVENT_BYTES_MAX, JOURNAL_CALLS_MAX, PATH_DEPTH_MAX};
    use runmesh_domain::log::{Journal, Position};
    use runmesh_domain::message::{Message, Part, Role};
    use runmesh_domain::path::StepKey;
    use runmesh_domain::run::StateName;
    use runmesh_domain::transition::{Cause, Finished, Record, Transition};
    use uuid::Uuid;

    fn key() -> RunKey {
        let id = Uuid::from_u128(1);
        RunKey { org: OrgId::from_uuid(id), thread: ThreadId::from_uuid(id), run: RunId::from_uuid(id) }
    }

    fn known(transitions: &[(Transition, bool)]) -> Known<'_> {
        Known { position: Position::default(), journal: Journal::default(), transitions }
    }

    fn asked(version: u64) -> (Transition, bool) {
        let action = ActionId::from_uuid(Uuid::from_u128(1));
        let transition = Transition {
            run: key().run,
            version,
            from: None,
            to: StateName::Waiting,
            cause: Cause::OutcomeUnknown,
            fence: version,
            session: None,
            actor: runmesh_domain::actor::Actor::System,
            at: Timestamp::from_micros(0),
            record: Record::ApprovalRequested { action, summary: "x".repeat(1 << 20) },
        };
        (transition, false)
    }

    /// The results of a transition and its event are told together, and the server takes messages of 1 MiB.
    #[test]
    fn an_end_that_closes_as_many_calls_as_a_run_may_have_is_one_batch() {
        let deepest = StepKey { path: ["1000.127"; PATH_DEPTH_MAX].join("/").parse().unwrap_or_default(), step_index: 4_096 };
        let text = || Part::text("x".repeat(EVENT_BYTES_MAX));
        let (mut transition, _) = asked(1);
        let message = Message {
            id: MessageId::derived(&[b"m"]),
            thread: key().thread,
            run: key().run,
            turn_number: 1,
            role: Role::Assistant,
            parts: vec![text(), text()],
            unfinished: true,
            internal: false,
            created_at: Timestamp::from_micros(0),
        };
        transition.to = StateName::Canceled;
        transition.record = Record::Finished(Box::new(Finished {
            state: StateName::Canceled,
            reason: String::new(),
            detail: String::new(),
            message: Some(message),
            promoted: None,
            usage: Usage::default(),
            at: Timestamp::from_micros(0),
            closed_calls: (0..JOURNAL_CALLS_MAX).map(|call| deepest.clone().call(call)).collect(),
        }));
        let rows = [(transition, false)];
        let plan = log::catch_up(&Tail::default(), &known(&rows)).ok().flatten();
        let Some(plan) = plan else { panic!("nothing to do") };
        let (batch, is_all) = batch_of(key(), &Tail::default(), &plan);
        assert!(is_all && batch.tail.finished);
        assert_eq!(batch.events.len() as u64, u64::from(JOURNAL_CALLS_MAX) + 1);
        let bytes = batch.encode().len();
        assert!(bytes < 1_000_000, "{bytes}");
    }

    #[test]
    fn what_is_too_much_for_a_batch_goes_in_several() {
        let rows: Vec<_> = (1..=20).map(asked).collect();
        let plan = log::catch_up(&Tail::default(), &known(&rows)).ok().flatten();
        let Some(plan) = plan else { panic!("nothing to do") };
        let (batch, is_all) = batch_of(key(), &Tail::default(), &plan);
        assert!(!is_all);
        let held = batch.events.len() as u64;
        assert_eq!((batch.tail.version, batch.tail.fence, batch.tail.seq), (held, held, held));
        assert!(batch.encode().len() <= BATCH_BYTES_MAX + 1_024);
    }
}
