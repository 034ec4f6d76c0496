//! From a request to follow something to its stream: who may see what, and where the client stands.

use crate::caller::Person;
use crate::relay::Relay;
use crate::seats::Seat;
use crate::thread::ThreadViewer;
use crate::truth::Seen;
use crate::viewer::{From, Viewer};
use runmesh_domain::cursor::Cursor;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::{Refusal, Result};
use runmesh_wire::convert::id;
use runmesh_wire::pb::stream as pb;
use runmesh_wire::pb::stream::attach_thread_request as wire;

/// A stream with the seat that it takes.
#[derive(Debug)]
pub struct Seated<V> {
    pub viewer: V,
    _seat: Seat,
}

/// A stream of a run for a person, or why not. One statement of Postgres, unless the run waits in a queue.
pub async fn run(relay: &Relay, who: Person, request: pb::AttachRunRequest) -> Result<Seated<Viewer>> {
    let pb::AttachRunRequest { run_id, from } = request;
    let run: RunId = id("run_id", &run_id)?;
    let from = From::of_run(from)?;
    let seat = seat(relay, who)?;
    let seen = relay.truth.attach(who.org, who.user, run).await?;
    if let From::Cursor(cursor) = from
        && (cursor.run, cursor.thread) != (run, seen.key.thread)
    {
        return Err(Refusal::InvalidCursor { problem: "is another run's" }.into());
    }
    let viewer = Viewer::of(relay.clone(), seen, from, who.until).await;
    Ok(Seated { viewer, _seat: seat })
}

/// A stream of a thread for a person, or why not.
pub async fn thread(relay: &Relay, who: Person, request: pb::AttachThreadRequest) -> Result<Seated<ThreadViewer>> {
    let pb::AttachThreadRequest { thread_id, from } = request;
    let thread: ThreadId = id("thread_id", &thread_id)?;
    let from = match from {
        None | Some(wire::From::Snapshot(pb::FromSnapshot {})) => From::Snapshot,
        Some(wire::From::Cursor(text)) => From::Cursor(text.parse()?),
        Some(wire::From::Live(pb::FromLive {})) => From::Live,
    };
    let seat = seat(relay, who)?;
    let current = relay.truth.current_turn(who.org, who.user, thread).await?;
    let mut viewer = ThreadViewer::new(relay.clone(), who, thread);
    match (from, current) {
        (From::Cursor(cursor), _) => after(relay, who, cursor, &mut viewer).await?,
        (_, None) => viewer.wait_after(None, viewer.before_the_first()),
        (_, Some(turn)) if turn.is_over() => viewer.wait_after(Some(turn), end_of(&turn)),
        (from, Some(turn)) => viewer.begin_turn(turn, from).await?,
    }
    Ok(Seated { viewer, _seat: seat })
}

/// Goes on after a cursor. One that covers a whole turn stands between that turn and the next.
async fn after(relay: &Relay, who: Person, cursor: Cursor, viewer: &mut ThreadViewer) -> Result<()> {
    let foreign = Refusal::InvalidCursor { problem: "is another thread's" };
    if cursor.thread != viewer.thread() {
        return Err(foreign.into());
    }
    if cursor == viewer.before_the_first() {
        viewer.wait_after(None, cursor);
        return Ok(());
    }
    let seen = relay.truth.attach(who.org, who.user, cursor.run).await?;
    if seen.key.thread != viewer.thread() {
        return Err(foreign.into());
    }
    viewer.begin_turn(seen, From::Cursor(cursor)).await
}

/// The cursor that covers everything of a turn that is over.
const fn end_of(turn: &Seen) -> Cursor {
    let Seen { key, position, .. } = turn;
    Cursor::start(key.thread, key.run).at(position.seq, position.chain).at_end()
}

fn seat(relay: &Relay, who: Person) -> Result<Seat> {
    if relay.life.is_draining() {
        return Err(Refusal::Draining.into());
    }
    Ok(relay.seats.take(who.org, who.user)?)
}
