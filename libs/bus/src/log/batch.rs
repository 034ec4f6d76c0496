//! One message of a run's log, and its payload. It knows nothing of what the events mean.

use crate::fault::internal;
use bytes::Bytes;
use prost::Message as _;
use runmesh_domain::Result;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::RunId;
use runmesh_domain::log::{Held, Tail};
use runmesh_wire::convert::signed32;
use runmesh_wire::pb::log::LogBatch;

/// The version of the payload.
const PAYLOAD_VERSION: i32 = 1;

/// A batch of events with the header that the log has after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// The log's tail with this batch. `stream_seq` is 0 until it is stored.
    pub tail: Tail,
    /// The number of the first event, or of the next one when there is none here.
    pub first_seq: u64,
    /// The rolling hash before the first event.
    pub chain_before: Chain,
    /// Encoded `runmesh.stream.v1.RunEvent`s.
    pub events: Vec<Bytes>,
}

impl Batch {
    /// A batch of `events` after `header.seq` and `header.chain`; the rest of `header` is what the log says after it.
    #[must_use]
    pub fn after(run: RunId, header: Tail, events: Vec<Bytes>) -> Self {
        let (first_seq, chain_before) = (header.seq + 1, header.chain);
        let seq = header.seq + events.len() as u64;
        let chain = chain_before.then_all(events.iter().map(Bytes::as_ref));
        Self { run, tail: Tail { stream_seq: 0, seq, chain, ..header }, first_seq, chain_before, events }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { run, tail, first_seq, chain_before, events } = self;
        let Tail { stream_seq: _, fence, number, version, open, finished, seq: _, chain, held } = tail;
        let batch = LogBatch {
            payload_version: PAYLOAD_VERSION,
            run_id: run.to_string(),
            fence: signed(*fence),
            number: signed(*number),
            version: signed(*version),
            open: *open,
            first_seq: signed(*first_seq),
            chain_before: chain_before.0,
            chain_after: chain.0,
            events: events.clone(),
            finished: *finished,
            step: signed32(held.step),
            open_calls: held.open_calls.iter().map(signed32).collect(),
        };
        batch.encode_to_vec()
    }

    /// The batch that is stored at `stream_seq` with this payload.
    ///
    /// # Errors
    /// `Internal` for another version, for bytes that are no batch, and for events that do not hash to what it says.
    pub fn decode(stream_seq: u64, payload: Bytes) -> Result<Self> {
        let broken = |what: &str| internal(format!("log message {stream_seq}: {what}"));
        let LogBatch {
            payload_version,
            run_id,
            fence,
            number,
            version,
            open,
            first_seq,
            chain_before,
            chain_after,
            events,
            finished,
            step,
            open_calls,
        } = LogBatch::decode(payload).map_err(|error| broken(&error.to_string()))?;
        if payload_version != PAYLOAD_VERSION {
            return Err(broken("its payload is of another version"));
        }
        let run = run_id.parse().map_err(|_| broken("no run"))?;
        let number_of = |field: i64| u64::try_from(field).map_err(|_| broken("a negative number"));
        let (first_seq, chain_before, chain) = (number_of(first_seq)?.max(1), Chain(chain_before), Chain(chain_after));
        if chain_before.then_all(events.iter().map(Bytes::as_ref)) != chain {
            return Err(broken("its events do not hash to its chain"));
        }
        let seq = first_seq - 1 + events.len() as u64;
        let (fence, number, version) = (number_of(fence)?, number_of(number)?, number_of(version)?);
        let index_of = |field: i32| u32::try_from(field).map_err(|_| broken("a negative number"));
        let held = Held { step: index_of(step)?, open_calls: open_calls.into_iter().map(index_of).collect::<Result<_, _>>()? };
        let tail = Tail { stream_seq, fence, number, version, open, finished, seq, chain, held };
        Ok(Self { run, tail, first_seq, chain_before, events })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let run = RunId::from_uuid(uuid::Uuid::from_u128(7));
        let held = Held { step: 2, open_calls: [0, 3].into_iter().collect() };
        let header = Tail { fence: 2, number: 3, version: 4, open: true, seq: 10, chain: Chain(5), held, ..Tail::default() };
        Batch::after(run, header, vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")])
    }

    #[test]
    fn comes_back_as_it_went_but_for_its_place() {
        let batch = batch();
        assert_eq!((batch.first_seq, batch.tail.seq), (11, 12));
        let mut stored = batch.clone();
        stored.tail.stream_seq = 99;
        assert_eq!(Batch::decode(99, batch.encode().into()), Ok(stored));
    }

    #[test]
    fn events_that_were_changed_are_noticed() {
        let mut batch = batch();
        batch.events[0] = Bytes::from_static(b"x");
        assert!(Batch::decode(1, batch.encode().into()).is_err());
    }
}
