//! Server-sent events out of bytes: the data of each event, in order. Names, ids and retry times of events mean nothing
//! to a model's stream and are skipped. Pure.
//!
//! Lines end with `\n` or `\r\n`. An event that the end of the stream cuts off before its empty line counts as whole:
//! servers forget that line, and what was cut for real is no JSON. Every byte is looked at once, however long a line is,
//! and nothing is allocated for an event: a run reads hundreds of them.

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct Sse {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data of the event under way.
    data: String,
    has_data: bool,
    started: bool,
}

impl Sse {
    /// Bytes that are kept for an event under way.
    pub(super) const fn pending_bytes(&self) -> usize {
        self.line.len() + self.data.len()
    }

    /// Takes the next bytes and hands the data of every event that they complete to `event`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.take_line(line, &mut event);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, &mut event);
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(bytes);
    }

    /// The stream is over: what is under way is whole.
    pub(super) fn finish(&mut self, mut event: impl FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        self.take_line(&line, &mut event);
        self.take_line(b"", &mut event);
    }

    fn take_line(&mut self, line: &[u8], event: &mut impl FnMut(&str)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if self.started { line } else { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                event(&self.data);
            }
            self.data.clear();
        } else if let Some(value) = line.strip_prefix(b"data:") {
            self.add(value.strip_prefix(b" ").unwrap_or(value));
        } else if line == b"data" {
            self.add(b"");
        }
    }

    fn add(&mut self, value: &[u8]) {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(&String::from_utf8_lossy(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events_of(pieces: &[&[u8]]) -> Vec<String> {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        for piece in pieces {
            sse.feed(piece, |data| events.push(data.to_owned()));
        }
        sse.finish(|data| events.push(data.to_owned()));
        events
    }

    #[test]
    fn reads_what_servers_send() {
        assert_eq!(events_of(&[b"data: a\n\ndata:b\n\n"]), ["a", "b"]);
        assert_eq!(events_of(&[b": ping\r\n\r\nevent: x\r\nid: 1\r\ndata: a\r\n\r\n"]), ["a"]);
        assert_eq!(events_of(&[b"data: a\ndata: b\n\n"]), ["a\nb"]);
        assert_eq!(events_of(&["\u{feff}data: a\n\n".as_bytes()]), ["a"]);
        assert_eq!(events_of(&[b"data: [DONE]"]), ["[DONE]"]);
        assert_eq!(events_of(&[b"data\n\n"]), [""]);
        assert!(events_of(&[b"\n\n: only comments\n\n"]).is_empty());
    }

    #[test]
    fn every_way_of_cutting_gives_the_same() {
        let text = "data: {\"a\":\"ä€𝄞\"}\r\n\r\n: c\ndata: x\ndata: y\n\n".as_bytes();
        let whole = events_of(&[text]);
        assert_eq!(whole, ["{\"a\":\"ä€𝄞\"}", "x\ny"]);
        for first in 0..text.len() {
            for second in first..text.len() {
                let cut = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(events_of(&cut), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn counts_what_it_keeps() {
        let mut sse = Sse::default();
        sse.feed(b"data: abc\ndata: de", |_| {});
        assert_eq!(sse.pending_bytes(), 3 + 8);
    }
}
