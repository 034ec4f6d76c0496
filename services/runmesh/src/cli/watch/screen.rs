//! Where shown text goes. On a terminal everything to standard output, notes dimmed; elsewhere the answer to standard output
//! and everything about it to standard error, so that a pipe holds the answer and nothing else.

use super::render::Piece;
use crate::cli::style::Style;
use std::io::{self, IsTerminal as _, Write as _};

/// Standard output as text is streamed to it.
#[derive(Debug)]
pub struct Screen {
    style: Style,
    live: bool,
    raw: bool,
    /// True when the last line has no end yet.
    open: bool,
}

impl Screen {
    /// The screen of this process; live when standard output is a terminal.
    pub fn new(style: Style) -> Self {
        Self { style, live: io::stdout().is_terminal(), raw: false, open: false }
    }

    /// True when text may be shown before it is final.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether lines must end in a carriage return too.
    pub const fn set_raw(&mut self, raw: bool) {
        self.raw = raw;
    }

    /// Shows pieces.
    pub fn put(&mut self, pieces: &[Piece]) -> io::Result<()> {
        let (mut out, mut aside) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    self.open = if text.is_empty() { self.open } else { !text.ends_with('\n') };
                }
                Piece::Break => self.close(&mut out),
                Piece::Note(line) => self.aside(&mut out, &mut aside, &self.style.dim(line), line),
                Piece::Good(line) => self.aside(&mut out, &mut aside, &self.style.good(line), line),
                Piece::Bad(line) => self.aside(&mut out, &mut aside, &self.style.bad(line), line),
            }
        }
        if !aside.is_empty() {
            io::stderr().lock().write_all(aside.as_bytes())?;
        }
        self.write(&out)
    }

    /// Ends the last line, should it be open.
    pub fn end_line(&mut self) -> io::Result<()> {
        self.put(&[Piece::Break])
    }

    /// A line about the answer.
    fn aside(&mut self, out: &mut String, aside: &mut String, styled: &str, plain: &str) {
        if self.live {
            self.close(out);
            out.push_str(styled);
            out.push('\n');
        } else {
            aside.push_str(plain);
            aside.push('\n');
        }
    }

    fn close(&mut self, out: &mut String) {
        if self.open {
            out.push('\n');
            self.open = false;
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if self.raw {
            out.write_all(text.replace('\n', "\r\n").as_bytes())?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    }
}
