//! The append stream of one attempt. One publish is in flight; what arrives meanwhile goes into the next one. A worker that
//! sends faster than the log takes is slowed down by not being read.
//!
//! *Invariant S2:* everything is written under the token's run and fence, and only onto a tail that is open for it.

mod intake;
mod open;

use crate::relay::Relay;
use crate::{caller, limits};
use futures::future::BoxFuture;
use intake::{Encoded, Pending};
use open::Opening;
use runmesh_bus::{Batch, PublishOutcome, RunKey};
use runmesh_domain::log::{Position, Tail};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Error, Fault, Refusal, Result};
use runmesh_wire::pb::relay::AppendRequest;
use runmesh_wire::pb::relay::append_request::Message as Request;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_response::Message as Answer;
use runmesh_wire::pb::stream::append_stopped::Reason;
use runmesh_wire::{FromWire as _, IntoWire as _, convert::signed, status};
use std::future::pending;
use std::pin::pin;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Status, Streaming};

type Answers = mpsc::Sender<Result<pb::AppendResponse, Status>>;
type Publishing = BoxFuture<'static, Result<PublishOutcome>>;

/// Serves one append stream to its end.
pub async fn run(relay: Relay, claim: LeaseClaim, mut requests: Streaming<AppendRequest>, answers: Answers) {
    let hard = relay.life.hard().clone();
    let serving = async {
        if let Err(error) = serve(&relay, claim, &mut requests, &answers).await {
            if let Error::Fault(fault) = &error {
                tracing::warn!(run = %claim.run, %fault, "an append stream ends early");
            }
            // Without a receiver the worker is gone, and nobody wants to know.
            drop(answers.send(Err(status::of(&error))).await);
        }
    };
    tokio::select! {
        () = serving => {}
        () = hard.cancelled() => {}
        () = answers.closed() => {}
    }
}

async fn serve(relay: &Relay, claim: LeaseClaim, requests: &mut Streaming<AppendRequest>, answers: &Answers) -> Result<()> {
    let Some(pb::AppendOpen { lease, acked }) = first(requests).await? else { return Ok(()) };
    caller::same_lease(claim, lease)?;
    let acked = acked.map(|acked| acked.from_wire("open.acked")).transpose()?.unwrap_or_default();
    let key = RunKey::from(claim);
    // Counted from before the tail is read.
    let mut losses = relay.bus.losses();
    losses.mark_unchanged();
    let (tail, last) = match open::open(relay, key, claim.fence, acked).await? {
        Opening::Open(tail, last) => (tail, last),
        Opening::Stopped(reason) => return stop(answers, reason).await,
    };
    let started = open::started(relay, key, claim.fence, &tail, last.as_ref()).await?;
    if say(answers, Answer::Started(started)).await.is_err() {
        return Ok(());
    }
    let pending = Pending::after(tail.number);
    let (flying, ack_due, is_read) = (None, false, false);
    let next_sign = Instant::now() + limits::APPEND_SIGN;
    let writer = Writer { relay, key, answers, fence: claim.fence, tail, pending, flying, ack_due, next_sign, is_read, losses };
    writer.write(requests).await
}

/// The opening message; none when the worker left without a word.
async fn first(requests: &mut Streaming<AppendRequest>) -> Result<Option<pb::AppendOpen>> {
    let late = || Refusal::field("message", "open must come first, within ten seconds");
    let message = timeout(limits::APPEND_FIRST, requests.message()).await.map_err(|_| late())?;
    match message {
        Ok(Some(AppendRequest { message: Some(Request::Open(open)) })) => Ok(Some(open)),
        Ok(Some(_)) => Err(Refusal::field("message", "open must come first").into()),
        Ok(None) => Ok(None),
        Err(status) => unread(&status).map(|()| None),
    }
}

fn unread(status: &Status) -> Result<()> {
    status::of_unread(status).map_or(Ok(()), |refusal| Err(refusal.into()))
}

async fn stop(answers: &Answers, reason: Reason) -> Result<()> {
    drop(say(answers, Answer::Stopped(pb::AppendStopped { reason: reason.into() })).await);
    Ok(())
}

async fn say(answers: &Answers, answer: Answer) -> Result<(), mpsc::error::SendError<Result<pb::AppendResponse, Status>>> {
    answers.send(Ok(pb::AppendResponse { message: Some(answer) })).await
}

/// A publish in flight.
struct Flying {
    events: Vec<Encoded>,
    tail: Tail,
    publishing: Publishing,
}

/// An attempt that is open in the log.
struct Writer<'a> {
    relay: &'a Relay,
    key: RunKey,
    answers: &'a Answers,
    fence: u64,
    tail: Tail,
    pending: Pending,
    /// The publish in flight, with what it holds.
    flying: Option<Flying>,
    ack_due: bool,
    /// When a worker that waits is sent the last ack again.
    next_sign: Instant,
    /// True when the worker has said everything.
    is_read: bool,
    /// Losses of the connection: the tail is worth nothing after one.
    losses: watch::Receiver<u64>,
}

enum Turn {
    Published(Result<PublishOutcome>),
    Request(Result<Option<AppendRequest>, Status>),
    Acked,
    /// The log is slow.
    Slow,
    Drain,
}

impl Writer<'_> {
    async fn write(mut self, requests: &mut Streaming<AppendRequest>) -> Result<()> {
        let answers = self.answers;
        loop {
            // A drain lets what is in flight land and begins nothing more.
            if !self.relay.life.is_draining()
                && let Some(reason) = self.take_off().await?
            {
                return stop(answers, reason).await;
            }
            if self.flying.is_none() && self.is_read && !self.ack_due {
                return Ok(());
            }
            match self.turn(requests).await {
                Turn::Published(outcome) => {
                    if let Some(reason) = self.landed(outcome).await? {
                        return stop(answers, reason).await;
                    }
                }
                Turn::Request(Ok(Some(request))) => self.ack_due |= self.pending.take(request, self.tail.number)?,
                Turn::Request(Ok(None)) => self.is_read = true,
                // Unless it said nonsense, the worker is gone; it sends what was not acked through another stream.
                Turn::Request(Err(status)) => return unread(&status),
                Turn::Acked => {
                    self.ack_due = false;
                    self.next_sign = Instant::now() + limits::APPEND_SIGN;
                }
                Turn::Slow => self.ack_due = true,
                Turn::Drain => return Err(Refusal::Draining.into()),
            }
        }
    }

    /// What comes first: the ack of the publish, room for an answer, or more from the worker while there is room for it.
    async fn turn(&mut self, requests: &mut Streaming<AppendRequest>) -> Turn {
        let (ack_due, is_idle, next_sign) = (self.ack_due, self.flying.is_none(), self.next_sign);
        let wants_more = !self.is_read && self.pending.has_room() && !self.relay.life.is_draining();
        let ack = self.ack();
        let published = async {
            match &mut self.flying {
                Some(flying) => (&mut flying.publishing).await,
                None => pending().await,
            }
        };
        let drain = self.relay.life.soft().cancelled();
        tokio::select! {
            biased;
            outcome = published => Turn::Published(outcome),
            Ok(room) = self.answers.reserve(), if ack_due => {
                room.send(Ok(ack));
                Turn::Acked
            }
            () = sleep_until(next_sign), if !ack_due && !is_idle => Turn::Slow,
            () = drain, if is_idle => Turn::Drain,
            request = requests.message(), if wants_more => Turn::Request(request),
        }
    }

    /// The ack of everything that the log holds.
    fn ack(&self) -> pb::AppendResponse {
        let ack = pb::AppendAck { number: signed(self.tail.number), position: Some(position(&self.tail).into_wire()) };
        pb::AppendResponse { message: Some(Answer::Ack(ack)) }
    }

    /// Publishes what waits, onto a tail that is read anew when the connection was lost since. Answers why the attempt is
    /// over, when it is.
    async fn take_off(&mut self) -> Result<Option<Reason>> {
        if self.flying.is_some() || self.pending.is_empty() {
            return Ok(None);
        }
        if self.losses.has_changed().unwrap_or(true)
            && let Some(reason) = self.open_again().await?
        {
            return Ok(Some(reason));
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        let (number, events) = self.pending.next_batch();
        let held = events.iter().fold(self.tail.held, |held, event| event.after(held));
        let header = Tail { number, fence: self.fence, open: true, held, ..self.tail };
        let batch = Batch::after(self.key.run, header, events.iter().map(|event| event.bytes.clone()).collect());
        self.next_sign = Instant::now() + limits::APPEND_SIGN;
        let (log, key, expected, tail) = (self.relay.bus.log().clone(), self.key, self.tail.stream_seq, batch.tail);
        let publishing = Box::pin(async move { log.publish(key, &batch, expected).await });
        self.flying = Some(Flying { events, tail, publishing });
        Ok(None)
    }

    /// Deals with what became of the publish. Answers why the attempt is over, when it is.
    async fn landed(&mut self, outcome: Result<PublishOutcome>) -> Result<Option<Reason>> {
        let Some(Flying { events, tail, .. }) = self.flying.take() else { return Ok(None) };
        match outcome {
            Ok(PublishOutcome::Stored { stream_seq }) => {
                self.tail = Tail { stream_seq, ..tail };
                self.ack_due = true;
                return Ok(None);
            }
            Ok(PublishOutcome::Conflict | PublishOutcome::Unknown) | Err(Error::Fault(Fault::Unavailable { .. })) => {}
            Err(error) => return Err(error),
        }
        self.pending.put_back(events);
        self.open_again().await
    }

    async fn open_again(&mut self) -> Result<Option<Reason>> {
        self.losses.mark_unchanged();
        let opening = open::open(self.relay, self.key, self.fence, position(&self.tail));
        match with_signs(self.answers, self.ack(), opening).await? {
            Opening::Stopped(reason) => Ok(Some(reason)),
            // The log lost something: the worker hears in a new stream's first answer what is left of it.
            Opening::Open(tail, _) if is_lost(&self.tail, &tail) => {
                let detail = format!("the log of {} holds {} of {} events", self.key.run, tail.number, self.tail.number);
                Err(Fault::Unavailable { part: "log", detail }.into())
            }
            Opening::Open(tail, _) => {
                // The batch may have landed after all: what the tail covers is not sent again.
                self.ack_due |= self.pending.drop_up_to(tail.number);
                self.tail = tail;
                Ok(None)
            }
        }
    }
}

/// Does `work`, and repeats `ack` meanwhile: the worker is to know that the relay is alive while the log is not.
async fn with_signs<T>(answers: &Answers, ack: pb::AppendResponse, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            // A worker that does not read needs no sign.
            () = sleep(limits::APPEND_SIGN) => drop(answers.try_send(Ok(ack.clone()))),
        }
    }
}

/// Whether a log that ended with `before` lost some of it. Within an open attempt only its own events move the tail, so the
/// same number at another place is another log, or one that was begun anew.
fn is_lost(before: &Tail, now: &Tail) -> bool {
    let (place, then) = ((now.seq, now.chain), (before.seq, before.chain));
    now.number < before.number || (now.number == before.number && place != then)
}

const fn position(tail: &Tail) -> Position {
    Position { seq: tail.seq, chain: tail.chain }
}
