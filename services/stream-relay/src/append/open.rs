//! From a token to a tail that is open for its attempt. A log that is behind is brought up first; it is not waited for
//! longer than its worker should wait.

use super::position;
use crate::limits;
use crate::relay::Relay;
use crate::shown::Shown;
use crate::truth::For;
use runmesh_bus::{Batch, RunKey};
use runmesh_domain::fold::RunView;
use runmesh_domain::log::{MayAppend, Position, Tail};
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::{Error, Fault, Result};
use runmesh_wire::IntoWire as _;
use runmesh_wire::convert::{signed, signed32};
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::append_stopped::Reason;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How an attempt stands in the log.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a stream, for a moment")]
pub enum Opening {
    /// It may append onto this tail, which the batch is.
    Open(Tail, Option<Batch>),
    /// It never may again.
    Stopped(Reason),
}

/// Waits for the log to be open for attempt `fence`, bringing it up when it is behind, or behind what the attempt knows was `acked`.
pub async fn open(relay: &Relay, key: RunKey, fence: u64, acked: Position) -> Result<Opening> {
    let deadline = Instant::now() + limits::APPEND_OPEN;
    let (mut pause, longest) = limits::APPEND_PAUSE;
    let mut looks = 0_u32;
    loop {
        let problem = match look(relay, key, fence, acked, looks).await {
            Ok(Some(opening)) => return Ok(opening),
            Ok(None) => "its claim is not in the log yet".to_owned(),
            Err(Error::Fault(Fault::Unavailable { part, detail })) => format!("{part}: {detail}"),
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            let detail = format!("the log is not open for attempt {fence} of {}: {problem}", key.run);
            return Err(Fault::Unavailable { part: "log", detail }.into());
        }
        wait(relay, pause).await?;
        pause = (pause * 2).min(longest);
        looks += 1;
    }
}

async fn wait(relay: &Relay, pause: Duration) -> Result<()> {
    tokio::select! {
        () = sleep(pause) => Ok(()),
        () = relay.life.soft().cancelled() => Err(runmesh_domain::Refusal::Draining.into()),
    }
}

async fn look(relay: &Relay, key: RunKey, fence: u64, acked: Position, looks: u32) -> Result<Option<Opening>> {
    let last = relay.bus.log().last(key).await?;
    let tail = last.as_ref().map_or_else(Tail::default, |batch| batch.tail);
    match tail.may_append(fence) {
        MayAppend::Yes if !tail.is_behind(acked) => Ok(Some(Opening::Open(tail, last))),
        MayAppend::Fenced => Ok(Some(Opening::Stopped(Reason::Fenced))),
        MayAppend::Ended => Ok(Some(Opening::Stopped(Reason::Ended))),
        // Whoever committed the claim is just writing it: that is waited for once before Postgres is asked.
        MayAppend::Behind if looks == 0 => Ok(None),
        MayAppend::Yes | MayAppend::Behind => {
            let tail = relay.bring_up_to(For::Writer, key, tail, acked).await?;
            // The log of a run that is over is not begun anew once all of it was published: nothing will open it.
            let is_shut = tail.may_append(fence) == MayAppend::Behind || tail.is_behind(acked);
            let is_over = is_shut && relay.truth.is_over(key.org, key.run).await?;
            Ok(is_over.then_some(Opening::Stopped(Reason::Ended)))
        }
    }
}

/// The first answer: where the attempt stands, and what it has to settle before it goes on: what the log shows as open, and
/// steps that were journaled by earlier attempts and are not in the log, because it was away then or lost them.
pub async fn started(relay: &Relay, key: RunKey, fence: u64, tail: &Tail, last: Option<&Batch>) -> Result<pb::AppendStarted> {
    let (view, is_whole) = view(relay, key, tail, last).await?;
    let mut open: BTreeSet<StepKey> = view.open_steps().into_iter().collect();
    // The first attempt found no journal. What a log without its head lacks may have been there.
    if fence > 1 && is_whole {
        let journaled = journaled_before(relay, key, fence).await?;
        open.extend(journaled.into_iter().filter(|step| !view.steps.contains_key(step)));
    }
    let open_calls = view.open_calls().into_iter().map(|CallKey { step, call_index }| {
        let (step_index, path) = step.into_wire();
        pb::OpenCall { step_index, call_index: signed32(call_index), path }
    });
    let (top, branches): (Vec<_>, Vec<_>) = open.into_iter().partition(|step| step.path.is_top());
    let branches = branches.into_iter().map(|step| {
        let (step_index, path) = step.into_wire();
        pb::OpenStep { step_index, path }
    });
    Ok(pb::AppendStarted {
        number: signed(tail.number),
        position: Some(position(tail).into_wire()),
        open_step_indexes: top.into_iter().map(|step| signed32(step.step_index)).collect(),
        open_calls: open_calls.collect(),
        open_branch_steps: branches.collect(),
    })
}

/// As the store answers. While Postgres is away or busy it is asked again: an attempt is not sent away for one full pool.
async fn journaled_before(relay: &Relay, key: RunKey, fence: u64) -> Result<Vec<StepKey>> {
    let deadline = Instant::now() + limits::APPEND_OPEN;
    let (mut pause, longest) = limits::APPEND_PAUSE;
    loop {
        match relay.truth.journaled_before(key.org, key.run, fence).await {
            Err(Error::Fault(Fault::Unavailable { .. })) if Instant::now() < deadline => wait(relay, pause).await?,
            answer => return answer,
        }
        pause = (pause * 2).min(longest);
    }
}

/// The fold of the log, from its head or from where it was begun anew; as far as it goes when it is not whole, and whether it
/// is. A log that is one batch is folded from that.
async fn view(relay: &Relay, key: RunKey, tail: &Tail, last: Option<&Batch>) -> Result<(RunView, bool)> {
    let mut view = RunView::default();
    if let Some(last) = last.filter(|batch| batch.first_seq == 1) {
        Shown::of(key, last).fold_into(&mut view);
        return Ok((view, true));
    }
    let mut replay = relay.bus.log().replay(key, 0, tail.stream_seq);
    while view.seq < tail.seq {
        let Some(batch) = replay.next().await? else { break };
        let shown = Shown::of(key, &batch);
        if !shown.joins(view.seq, view.chain) && !shown.restarts() {
            break;
        }
        shown.fold_into(&mut view);
    }
    let is_whole = view.seq == tail.seq;
    if !is_whole {
        tracing::warn!(run = %key.run, "a log is not whole; what it holds open is known in part");
    }
    Ok((view, is_whole))
}
