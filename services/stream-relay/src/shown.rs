//! A batch of the log as viewers are shown it: decoded once, shared by all of them.

use prost::Message as _;
use runmesh_bus::Batch;
use runmesh_domain::chain::Chain;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::log::Tail;
use runmesh_domain::run::StateName;
use runmesh_wire::FromWire as _;
use runmesh_wire::pb::stream::RunEvent;
use runmesh_wire::pb::stream::run_event::Kind;

/// A batch, decoded.
#[derive(Debug)]
pub struct Shown {
    /// The log's tail with it.
    pub tail: Tail,
    /// The number of its first event.
    pub first_seq: u64,
    /// The rolling hash before that.
    pub chain_before: Chain,
    /// The events. A kind that this version does not know is an event without a kind.
    pub events: Vec<RunEvent>,
    /// Their size as stored.
    pub bytes: usize,
}

impl Shown {
    /// Decodes a batch.
    pub fn of(batch: &Batch) -> Self {
        let events = batch.events.iter().map(|bytes| RunEvent::decode(bytes.as_slice()).unwrap_or_default());
        Self {
            tail: batch.tail,
            first_seq: batch.first_seq,
            chain_before: batch.chain_before,
            events: events.collect(),
            bytes: batch.events.iter().map(Vec::len).sum(),
        }
    }

    /// Whether it follows on `seq` and `chain`.
    pub fn joins(&self, seq: u64, chain: Chain) -> bool {
        self.first_seq == seq + 1 && self.chain_before == chain
    }

    /// Whether it begins the log anew: what came before it is void.
    pub fn restarts(&self) -> bool {
        matches!(self.events.first(), Some(RunEvent { kind: Some(Kind::LogRestarted(_)) }))
    }

    /// The state that the run ended in, when its end is here.
    pub fn end(&self) -> Option<StateName> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            Some(Kind::RunFinished(finished)) => finished.state().from_wire("").ok(),
            _ => None,
        })
    }

    /// Its events, as this version knows them.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.iter().map(|event| event.clone().from_wire("").unwrap_or(Event::Unknown))
    }

    /// Folds it into a view that it follows on.
    pub fn fold_into(&self, view: &mut RunView) {
        self.events().for_each(|event| view.apply(&event));
        (view.seq, view.chain) = (self.tail.seq, self.tail.chain);
    }
}
