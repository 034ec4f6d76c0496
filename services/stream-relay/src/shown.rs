//! A batch of the log as viewers are shown it: encoded once, shared by all of them, and passed on as it is, with the kinds and fields
//! that this version does not know.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use runmesh_bus::{Batch, RunKey};
use runmesh_domain::chain::Chain;
use runmesh_domain::cursor::Cursor;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_wire::FromWire as _;
use runmesh_wire::convert::signed;
use runmesh_wire::pb::relay;
use runmesh_wire::pb::stream::RunEvent;
use runmesh_wire::pb::stream::run_event::Kind;

/// A batch, encoded for viewers.
#[derive(Debug)]
pub struct Shown {
    /// The log's tail with it.
    pub tail: Tail,
    /// The number of its first event.
    pub first_seq: u64,
    /// The rolling hash before that.
    pub chain_before: Chain,
    /// The size of its events as stored.
    pub bytes: usize,
    /// An encoded `Events` of this batch alone, with the cursor after it. Its own bytes: a message of NATS would be kept whole for
    /// them.
    frame: Bytes,
    /// Where the events begin in the frame.
    head: usize,
    restarts: bool,
    end: Option<StateName>,
}

impl Shown {
    /// Encodes a batch of this run's log.
    pub fn of(key: RunKey, batch: &Batch) -> Self {
        let Batch { run: _, tail, first_seq, chain_before, events } = batch;
        let cursor = Cursor::start(key.thread, key.run).at_tail(tail);
        let head = head(*first_seq, *chain_before, cursor);
        let events = relay::Events { events: events.clone(), ..relay::Events::default() };
        let mut frame = BytesMut::with_capacity(head.len() + events.encoded_len());
        frame.put_slice(&head);
        frame.put_slice(&events.encode_to_vec());
        let first = events.events.first().and_then(kind);
        Self {
            tail: *tail,
            first_seq: *first_seq,
            chain_before: *chain_before,
            bytes: events.events.iter().map(Bytes::len).sum(),
            frame: frame.freeze(),
            head: head.len(),
            restarts: matches!(first, Some(Kind::LogRestarted(_))),
            end: tail.finished.then(|| events.events.iter().rev().filter_map(kind).find_map(end)).flatten(),
        }
    }

    /// Whether it holds no event: it only moves the header on.
    pub fn is_empty(&self) -> bool {
        self.frame.len() == self.head
    }

    /// Whether it follows on `seq` and `chain`.
    pub fn joins(&self, seq: u64, chain: Chain) -> bool {
        self.first_seq == seq + 1 && self.chain_before == chain
    }

    /// Whether it begins the log anew: what came before it is void.
    pub const fn restarts(&self) -> bool {
        self.restarts
    }

    /// The state that the run ended in, when its end is here.
    pub const fn end(&self) -> Option<StateName> {
        self.end
    }

    /// Its events, as this version knows them.
    pub fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let events = relay::Events::decode(self.encoded_events()).unwrap_or_default().events;
        events.into_iter().map(|bytes| RunEvent::decode(bytes).unwrap_or_default().from_wire("").unwrap_or(Event::Unknown))
    }

    /// Folds it into a view that it follows on.
    pub fn fold_into(&self, view: &mut RunView) {
        self.events().for_each(|event| view.apply(&event));
        (view.seq, view.chain) = (self.tail.seq, self.tail.chain);
    }

    fn encoded_events(&self) -> Bytes {
        self.frame.slice(self.head..)
    }
}

/// Batches that follow on each other as one encoded `Events`; `at` is the cursor after them. One batch costs nothing: all viewers
/// share its bytes.
pub fn joined(batches: &[&Shown], at: Cursor) -> Bytes {
    let [first, ..] = batches else { return Bytes::new() };
    if batches.len() == 1 {
        return first.frame.clone();
    }
    let head = head(first.first_seq, first.chain_before, at);
    let events: Vec<_> = batches.iter().map(|batch| batch.encoded_events()).collect();
    let mut frame = BytesMut::with_capacity(head.len() + events.iter().map(Bytes::len).sum::<usize>());
    frame.put_slice(&head);
    // Lists that follow on each other are one list in protobuf.
    events.iter().for_each(|events| frame.put_slice(events));
    frame.freeze()
}

/// What of an `Events` is not events.
fn head(first_seq: u64, chain_before: Chain, at: Cursor) -> Vec<u8> {
    let (first_seq, chain_before, chain_after) = (signed(first_seq), chain_before.0, at.chain.0);
    relay::Events { first_seq, chain_before, chain_after, events: Vec::new(), cursor: at.to_string() }.encode_to_vec()
}

/// The kind of an event; none when this version does not know it.
fn kind(event: &Bytes) -> Option<Kind> {
    RunEvent::decode(event.clone()).ok()?.kind
}

fn end(kind: Kind) -> Option<StateName> {
    match kind {
        Kind::RunFinished(finished) => finished.state().from_wire("").ok(),
        _ => None,
    }
}
