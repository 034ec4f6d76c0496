//! Colours, when the output is a terminal and nobody asked for none (`NO_COLOR`).

use std::env;
use std::io::{IsTerminal as _, stdout};

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    on: bool,
}

impl Style {
    /// As standard output and the environment want it.
    pub fn of_stdout() -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// Of little weight.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Of much weight.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Went well.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Went wrong.
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
