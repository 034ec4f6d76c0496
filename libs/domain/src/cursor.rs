//! Cursors: "I have seen everything up to here", opaque to clients.

use crate::chain::Chain;
use crate::error::Refusal;
use crate::id::{RunId, ThreadId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The first byte of every cursor of this form.
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 16 + 16 + 8 + 8;
/// The next version's form has the same fields, and more behind them.
const NEXT: u8 = 2;
const NEXT_LENGTH: usize = LENGTH + 8 + 1;
/// Stands where a chain does in a cursor that covers a run's end. A log's own chain is this one only by a chance of 2^-64.
const END: Chain = Chain(u64::MAX);

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
}

impl Cursor {
    /// Before the first event of a run.
    #[must_use]
    pub const fn start(thread: ThreadId, run: RunId) -> Self {
        Self { thread, run, seq: 0, chain: Chain::START }
    }

    /// The same run, at another place.
    #[must_use]
    pub const fn at(self, seq: u64, chain: Chain) -> Self {
        Self { seq, chain, ..self }
    }

    /// The same place, of which it is known that the run's end was seen, too. Nothing follows a run's end, so such a cursor needs
    /// no log to be understood.
    #[must_use]
    pub const fn at_end(self) -> Self {
        Self { chain: END, ..self }
    }

    /// Whether it covers the run's end.
    #[must_use]
    pub const fn is_at_end(self) -> bool {
        self.chain.0 == END.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.thread.uuid().as_bytes());
        bytes.extend_from_slice(self.run.uuid().as_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.chain.0.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let malformed = Refusal::InvalidCursor { problem: "not a cursor" };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed.clone())?;
        let wanted = match bytes.first() {
            Some(&VERSION) => LENGTH,
            Some(&NEXT) => NEXT_LENGTH,
            Some(_) => return Err(Refusal::InvalidCursor { problem: "made by another version of runmesh" }),
            None => return Err(malformed),
        };
        if bytes.len() != wanted {
            return Err(malformed);
        }
        let bytes: [u8; LENGTH] = bytes[..LENGTH].try_into().map_err(|_| malformed)?;
        Ok(Self {
            thread: ThreadId::from_uuid(Uuid::from_bytes(piece(&bytes, 1))),
            run: RunId::from_uuid(Uuid::from_bytes(piece(&bytes, 17))),
            seq: u64::from_be_bytes(piece(&bytes, 33)),
            chain: Chain(u64::from_be_bytes(piece(&bytes, 41))),
        })
    }
}

fn piece<const N: usize>(bytes: &[u8; LENGTH], at: usize) -> [u8; N] {
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
            chain: Chain(u64::MAX - 1),
        }
    }

    #[test]
    fn round_trips() {
        assert_eq!(cursor().to_string().parse(), Ok(cursor()));
        let at_end = cursor().at_end();
        assert_eq!(at_end.to_string().parse(), Ok(at_end));
        assert!(at_end.is_at_end() && !cursor().is_at_end());
    }

    /// During a roll-out a client may come back with a cursor of the next version.
    #[test]
    fn reads_the_next_form_as_far_as_it_knows_it() {
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor().to_string()).unwrap_or_default();
        bytes[0] = NEXT;
        bytes.extend([9; NEXT_LENGTH - LENGTH]);
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes).parse(), Ok(cursor()));
    }

    #[test]
    fn refuses_what_is_no_cursor() {
        let good = cursor().to_string();
        for bad in ["", "x", "!!", &good[1..], &format!("{good}AAAA"), &format!("D{}", &good[1..])] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
