//! Cursors: "I have seen everything up to here", opaque to clients.

use crate::chain::Chain;
use crate::error::Refusal;
use crate::id::{RunId, ThreadId};
use crate::log::Tail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The first byte of a cursor says its form. The first form ends with the rolling hash.
const FIRST: u8 = 1;
const FIRST_LENGTH: usize = 1 + 16 + 16 + 8 + 8;
/// The second form adds where in the stream the event is, and whether the end of the run is covered.
const SECOND: u8 = 2;
const SECOND_LENGTH: usize = FIRST_LENGTH + 8 + 1;

/// A place in a run's log. It grants nothing: the relay checks the caller's org all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The thread.
    pub thread: ThreadId,
    /// The run.
    pub run: RunId,
    /// The last event seen; 0 before the first.
    pub seq: u64,
    /// The rolling hash there.
    pub chain: Chain,
    /// The stream's sequence of the message that ends with that event, when it is known; else 0. It says where to begin to read, and
    /// proves nothing: the rolling hash does.
    pub stream_seq: u64,
    /// True when the end of the run is covered, whatever the log holds: its state was read from Postgres.
    pub is_at_end: bool,
}

impl Cursor {
    /// Before the first event of a run.
    #[must_use]
    pub const fn start(thread: ThreadId, run: RunId) -> Self {
        Self { thread, run, seq: 0, chain: Chain::START, stream_seq: 0, is_at_end: false }
    }

    /// The same run, at another place in its log, of which it is not known where in the stream it is.
    #[must_use]
    pub const fn at(self, seq: u64, chain: Chain) -> Self {
        Self { seq, chain, stream_seq: 0, is_at_end: false, ..self }
    }

    /// The same place, of which it is known that the run's end is covered, too. Nothing follows a run's end, so such a cursor needs
    /// no log to be understood.
    #[must_use]
    pub const fn at_end(self) -> Self {
        Self { is_at_end: true, ..self }
    }

    /// The same run, where its log ends.
    #[must_use]
    pub const fn at_tail(self, tail: &Tail) -> Self {
        Self { seq: tail.seq, chain: tail.chain, stream_seq: tail.stream_seq, is_at_end: false, ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(SECOND_LENGTH);
        bytes.push(SECOND);
        bytes.extend_from_slice(self.thread.uuid().as_bytes());
        bytes.extend_from_slice(self.run.uuid().as_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.chain.0.to_be_bytes());
        bytes.extend_from_slice(&self.stream_seq.to_be_bytes());
        bytes.push(self.is_at_end.into());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let malformed = Refusal::InvalidCursor { problem: "not a cursor" };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed.clone())?;
        let wanted = match bytes.first() {
            Some(&FIRST) => FIRST_LENGTH,
            Some(&SECOND) => SECOND_LENGTH,
            Some(_) => return Err(Refusal::InvalidCursor { problem: "made by another version of runmesh" }),
            None => return Err(malformed),
        };
        if bytes.len() != wanted || bytes.get(FIRST_LENGTH + 8).is_some_and(|flag| *flag > 1) {
            return Err(malformed);
        }
        let mut whole = [0; SECOND_LENGTH];
        whole[..wanted].copy_from_slice(&bytes);
        Ok(Self {
            thread: ThreadId::from_uuid(Uuid::from_bytes(piece(&whole, 1))),
            run: RunId::from_uuid(Uuid::from_bytes(piece(&whole, 17))),
            seq: u64::from_be_bytes(piece(&whole, 33)),
            chain: Chain(u64::from_be_bytes(piece(&whole, 41))),
            stream_seq: u64::from_be_bytes(piece(&whole, FIRST_LENGTH)),
            is_at_end: whole[FIRST_LENGTH + 8] == 1,
        })
    }
}

fn piece<const N: usize>(bytes: &[u8; SECOND_LENGTH], at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&bytes[at..at + N]);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            thread: ThreadId::from_uuid(Uuid::from_u128(1)),
            run: RunId::from_uuid(Uuid::from_u128(2)),
            seq: 3,
            chain: Chain(u64::MAX),
            stream_seq: 77,
            is_at_end: true,
        }
    }

    #[test]
    fn round_trips() {
        assert_eq!(cursor().to_string().parse(), Ok(cursor()));
        let elsewhere = cursor().at(4, Chain(5));
        assert_eq!(elsewhere.to_string().parse(), Ok(elsewhere));
        assert!(!elsewhere.is_at_end && elsewhere.at_end().is_at_end);
    }

    /// One that runmesh handed out before cursors had their second form.
    #[test]
    fn reads_the_first_form() {
        let second = URL_SAFE_NO_PAD.decode(cursor().to_string()).unwrap_or_default();
        let first = [&[FIRST], &second[1..FIRST_LENGTH]].concat();
        let read = URL_SAFE_NO_PAD.encode(first).parse();
        assert_eq!(read, Ok(Cursor { stream_seq: 0, is_at_end: false, ..cursor() }));
    }

    #[test]
    fn refuses_what_is_no_cursor() {
        let good = cursor().to_string();
        for bad in ["", "x", "!!", &good[1..], &format!("{good}AAAA"), &format!("D{}", &good[1..])] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
