//! The hints a message may carry, and how they are read out of its text.
//!
//! A hint is a word of its own anywhere in the text, in lower case, with or without backticks around it. A hint that is
//! malformed or out of bounds is prose. Reading is pure and never fails.

mod tool;

use std::time::Duration;

pub(crate) use tool::CallHint;

/// Chunks in one answer: the workload of the longest test, with room.
const CHUNKS_MAX: u32 = 100_000;
/// Milliseconds between two chunks: a minute is slower than any keep-alive.
const GAP_MS_MAX: u64 = 60_000;
/// Tool calls in one answer, and faults of one kind in one message.
const REPEATS_MAX: usize = 32;

/// Everything the hints of one message ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Numbered chunks instead of prose. The first such hint wins.
    pub(crate) chunks: Option<Chunks>,
    /// Tool calls in the order written, `ask` included.
    pub(crate) calls: Vec<CallHint>,
    /// HTTP statuses to fail with, one for each call of the message.
    fails: Vec<Fault<u16>>,
    /// Chunks after which to drop the connection, one for each call that did not fail.
    cuts: Vec<Fault<u32>>,
    /// End with `length`.
    pub(crate) length: bool,
    /// Send token counts.
    pub(crate) usage: bool,
    /// Stream as oddly as real servers do.
    pub(crate) quirks: bool,
    /// Sign tool calls, and insist on the signatures.
    pub(crate) signed: bool,
    /// Think before tool calls, and insist on getting the reasoning back with them.
    pub(crate) thinks: bool,
    /// JSON objects that a stream holds as frames of their own, exactly as written.
    pub(crate) frames: Vec<String>,
}

/// A stream of numbered chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// How many, from 1.
    pub(crate) count: u32,
    /// The time between two of them; zero sends them all at once.
    pub(crate) gap: Duration,
}

/// A fault of one call, or of every call from that one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault<T> {
    value: T,
    every: bool,
}

impl Hints {
    /// Reads the hints of `text`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut hints = Self::default();
        let mut rest = next_word(text);
        while !rest.is_empty() {
            if let Some((call, after)) = tool::parse(rest) {
                hints.push_call(call);
                rest = next_word(after);
                continue;
            }
            if let Some((frame, after)) = rest.strip_prefix("frame:").and_then(tool::object) {
                hints.frames.extend((hints.frames.len() < REPEATS_MAX).then(|| frame.to_owned()));
                rest = next_word(after);
                continue;
            }
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            hints.take_word(word.trim_matches('`'));
            rest = next_word(after);
        }
        hints
    }

    /// True when some call of the message is to fail or to be cut: only then do its calls need counting.
    pub(crate) fn has_faults(&self) -> bool {
        !self.fails.is_empty() || !self.cuts.is_empty()
    }

    /// The status call number `call` (from 0) of the message fails with.
    pub(crate) fn fail(&self, call: usize) -> Option<u16> {
        due(&self.fails, call)
    }

    /// The chunks after which call number `call` (from 0) is cut; calls that failed do not count.
    pub(crate) fn cut(&self, call: usize) -> Option<u32> {
        due(&self.cuts, call.checked_sub(self.fails.len())?)
    }

    fn push_call(&mut self, call: CallHint) {
        if self.calls.len() < REPEATS_MAX {
            self.calls.push(call);
        }
    }

    fn take_word(&mut self, word: &str) {
        match word {
            "ask" => self.push_call(CallHint::ask()),
            "len" => self.length = true,
            "usage" => self.usage = true,
            "quirks" => self.quirks = true,
            "signed" => self.signed = true,
            "thinks" => self.thinks = true,
            _ => self.take_valued(word),
        }
    }

    fn take_valued(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else {
            return;
        };
        match name {
            "slow" => self.chunks = self.chunks.or_else(|| slow(value)),
            "many" => self.chunks = self.chunks.or_else(|| many(value)),
            "fail" => push_fault(&mut self.fails, value, |status| (400..=599).contains(status)),
            "cut" => push_fault(&mut self.cuts, value, |chunks| *chunks <= CHUNKS_MAX),
            _ => {}
        }
    }
}

/// The text from its next word on. A backtick before a hint is no part of it.
fn next_word(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '`')
}

fn slow(value: &str) -> Option<Chunks> {
    let (count, gap_ms) = value.split_once('x')?;
    let gap_ms: u64 = gap_ms.parse().ok().filter(|ms| *ms <= GAP_MS_MAX)?;
    Some(Chunks { count: chunk_count(count)?, gap: Duration::from_millis(gap_ms) })
}

fn many(value: &str) -> Option<Chunks> {
    Some(Chunks { count: chunk_count(value)?, gap: Duration::ZERO })
}

fn chunk_count(value: &str) -> Option<u32> {
    value.parse().ok().filter(|n| (1..=CHUNKS_MAX).contains(n))
}

fn push_fault<T: std::str::FromStr>(faults: &mut Vec<Fault<T>>, value: &str, in_bounds: impl Fn(&T) -> bool) {
    let (number, every) = match value.strip_suffix('*') {
        Some(number) => (number, true),
        None => (value, false),
    };
    if faults.len() < REPEATS_MAX
        && let Ok(value) = number.parse()
        && in_bounds(&value)
    {
        faults.push(Fault { value, every });
    }
}

/// The fault of call number `call`: the one written for it, or an earlier one that is for every call.
fn due<T: Copy>(faults: &[Fault<T>], call: usize) -> Option<T> {
    faults
        .iter()
        .enumerate()
        .find(|(index, fault)| *index == call || (fault.every && *index < call))
        .map(|(_, fault)| fault.value)
}

#[cfg(test)]
mod tests;
